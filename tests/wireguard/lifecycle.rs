//! How an interface begins and ends: in the background, with handed-down descriptors, by socket, device or signal.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use turnpike::lab::guard::{Namespace, wait_for, wait_until};

use crate::bench::{Bench, Node, SOON, TURNPIKE, Wire, text};
use crate::engine::{Engine, pair, possible};

use Engine::{Turnpike, WireguardGo};

const SOCKET: &str = "/var/run/wireguard/wg0.sock";

fn alone() -> (Bench, Namespace) {
    (Bench::new(), Namespace::new("alone").expect("a namespace"))
}

fn device_exists(at: &Namespace, device: &str) -> bool {
    at.ip(&format!("link show {device}")).is_ok()
}

/// Nothing of wg0 is left.
fn is_gone(bench: &Bench, at: &Namespace) -> bool {
    !device_exists(at, "wg0") && !bench.exists(at, SOCKET)
}

#[test]
fn it_returns_when_interface_and_socket_exist_and_goes_on_in_the_background() {
    if !possible("it_returns_when_interface_and_socket_exist_and_goes_on_in_the_background") {
        return;
    }
    let (bench, at) = alone();
    for _ in 0..5 {
        let script = format!("{TURNPIKE} tunnel wg0 && ip link show wg0 > /dev/null && wg show wg0 listen-port");
        assert_ne!(bench.run(&at, &["sh", "-c", &script]).expect("a start").trim(), "");
        let mode = bench.run(&at, &["stat", "-c", "%a", "/var/run/wireguard", SOCKET]).expect("modes");
        assert_eq!(mode.split_ascii_whitespace().collect::<Vec<_>>(), ["755", "600"]);
        at.ip("link delete wg0").expect("deleted");
        assert!(wait_until(SOON, || is_gone(&bench, &at) && at.processes().is_empty()), "{:?}", at.processes());
    }
}

#[test]
fn a_start_that_fails_says_why_and_leaves_nothing() {
    if !possible("a_start_that_fails_says_why_and_leaves_nothing") {
        return;
    }
    let (bench, at) = alone();
    let fails = |words: &[&str], code: i32, says: &str| {
        let (exit, stderr) = bench.outcome(&at, words);
        assert_eq!(exit, Some(code), "{words:?}: {stderr}");
        assert!(stderr.contains(says) && stderr.contains("help: "), "{words:?}: {stderr}");
    };
    for flag in [None, Some("-f")] {
        let tunnel = |prefix: &[&'static str], name: &'static str| -> Vec<&'static str> {
            prefix.iter().copied().chain([TURNPIKE, "tunnel"]).chain(flag).chain([name]).collect()
        };
        for name in ["", "sixteen-letters-", "a/b", "a b", ".", "..", "wg%d", "a:b"] {
            let (exit, stderr) = bench.outcome(&at, &tunnel(&[], name));
            assert_eq!(exit, Some(64), "'{name}': {stderr}");
        }
        fails(&tunnel(&["setpriv", "--bounding-set", "-net_admin"], "wg0"), 77, "CAP_NET_ADMIN");
        fails(&tunnel(&["env", "WG_TUN_FD=99"], "wg0"), 69, "WG_TUN_FD");
        fails(&tunnel(&["env", "WG_TUN_FD=x"], "wg0"), 64, "WG_TUN_FD");
        fails(&tunnel(&["env", "WG_UAPI_FD=99"], "wg0"), 69, "WG_UAPI_FD");
        fails(&tunnel(&["env", "TURNPIKE_WITHOUT_OFFLOADS=udp_gro,tso"], "wg0"), 64, "'tso'");
        fails(&tunnel(&["env", "TURNPIKE_WORKERS=9"], "wg0"), 64, "TURNPIKE_WORKERS='9'");
        let (exit, stderr) = bench.outcome(&at, &[TURNPIKE, "tunnel", "--workers", "none", "wg0"]);
        assert!(exit == Some(64) && stderr.contains("'none'") && stderr.contains("1 to 8"), "{stderr}");
        let (exit, stderr) = bench.outcome(&at, &[TURNPIKE, "tunnel", "--without-offload", "tso", "wg0"]);
        assert!(exit == Some(64) && stderr.contains("'tso'") && stderr.contains("tun_tso"), "{stderr}");
        // A device of that name which is no TUN device.
        at.ip("link add wg0 type veth peer name other").expect("a device");
        fails(&tunnel(&[], "wg0"), 69, "wg0");
        at.ip("link delete wg0").expect("deleted");
        assert!(is_gone(&bench, &at) && at.processes().is_empty());
    }
}

#[test]
fn a_second_instance_is_refused_and_the_first_goes_on() {
    if !possible("a_second_instance_is_refused_and_the_first_goes_on") {
        return;
    }
    let (bench, at) = alone();
    let first = Turnpike.start(&bench, &at, "wg0");
    let (exit, stderr) = bench.outcome(&at, &[TURNPIKE, "tunnel", "wg0"]);
    assert_eq!(exit, Some(69), "{stderr}");
    // Elsewhere the name of the device is free, but not that of the socket.
    let elsewhere = Namespace::new("elsewhere").expect("a namespace");
    let (exit, stderr) = bench.outcome(&elsewhere, &[TURNPIKE, "tunnel", "wg0"]);
    assert_eq!(exit, Some(69), "{stderr}");
    assert!(stderr.contains(SOCKET), "{stderr}");
    assert!(!device_exists(&elsewhere, "wg0"));
    assert_eq!(first.wg("show", "public-key").expect("the first one's").trim(), first.key.to_string());
}

#[test]
fn killed_it_leaves_a_socket_that_the_next_start_replaces() {
    if !possible("killed_it_leaves_a_socket_that_the_next_start_replaces") {
        return;
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    let [mut left, right] = pair(&bench, &wire, [Turnpike, WireguardGo], "192.0.2.2".parse().expect("an address"));
    assert!(left.reaches("10.9.0.2"));
    let conf = bench.file("wgl.conf");
    std::fs::write(&conf, left.wg("showconf", "").expect("showconf")).expect("a file");
    left.process.signal(Signal::SIGKILL).expect("killed");
    assert!(left.process.wait(SOON).is_some());
    assert!(wait_until(SOON, || !device_exists(&wire.left, "wgl")), "the device goes with its process");
    assert!(bench.exists(&wire.left, "/var/run/wireguard/wgl.sock"));

    let again = Turnpike.start(&bench, &wire.left, "wgl");
    again.wg("setconf", text(&conf)).expect("setconf");
    again.inner("10.9.0.1/24", "fd09::1/64");
    assert!(again.reaches("10.9.0.2"), "{}", again.process.log());
    assert!(right.reaches("fd09::1"));
}

#[test]
fn it_ends_with_its_socket_its_device_or_a_signal_and_leaves_nothing() {
    if !possible("it_ends_with_its_socket_its_device_or_a_signal_and_leaves_nothing") {
        return;
    }
    let (bench, at) = alone();
    let ends = |how: &dyn Fn(&mut Node<'_>)| {
        let mut node = Turnpike.start(&bench, &at, "wg0");
        assert!(!is_gone(&bench, &at));
        node.at.ip("link set wg0 up").expect("up");
        let asked = Instant::now();
        how(&mut node);
        let status = node.process.wait(SOON).unwrap_or_else(|| panic!("it goes on: {}", node.process.log()));
        assert!(status.success(), "{status}: {}", node.process.log());
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
        assert!(wait_until(SOON, || is_gone(&bench, &at)));
    };
    ends(&|_| drop(bench.run(&at, &["rm", SOCKET]).expect("removed")));
    ends(&|node| drop(node.at.ip("link delete wg0").expect("deleted")));
    ends(&|node| node.process.signal(Signal::SIGTERM).expect("sent"));
    ends(&|node| node.process.signal(Signal::SIGINT).expect("sent"));
}

#[test]
fn down_and_up_in_one_breath_finds_the_name_free() {
    if !possible("down_and_up_in_one_breath_finds_the_name_free") {
        return;
    }
    let (bench, at) = alone();
    bench.run(&at, &[TURNPIKE, "tunnel", "wg0"]).expect("a start");
    for _ in 0..5 {
        let script = format!("ip link delete wg0 && {TURNPIKE} tunnel wg0 && wg show wg0");
        bench.run(&at, &["sh", "-c", &script]).expect("a start at once after the end");
    }
    assert!(device_exists(&at, "wg0"));
    assert!(wait_until(SOON, || at.processes().len() == 1), "{:?}", at.processes());
}

#[test]
fn a_name_that_says_tunnel_needs_no_subcommand() {
    if !possible("a_name_that_says_tunnel_needs_no_subcommand") {
        return;
    }
    let (bench, at) = alone();
    for name in ["turnpike-tunnel", "wireguard-go"] {
        let path = bench.file(name);
        symlink(TURNPIKE, &path).expect("a link");
        bench.run(&at, &[text(&path), "wg0"]).expect("a start");
        assert!(device_exists(&at, "wg0"));
        bench.run(&at, &["rm", SOCKET]).expect("removed");
        assert!(wait_until(SOON, || is_gone(&bench, &at) && at.processes().is_empty()));
    }
}

#[test]
fn the_environment_can_ask_for_the_foreground() {
    if !possible("the_environment_can_ask_for_the_foreground") {
        return;
    }
    let (bench, at) = alone();
    let mut process = bench.spawn(&at, &["env", "WG_PROCESS_FOREGROUND=1", TURNPIKE, "tunnel", "wg0"]);
    assert!(wait_until(SOON, || bench.exists(&at, SOCKET)), "{}", process.log());
    assert_eq!(process.exited(), None);
    process.signal(Signal::SIGTERM).expect("sent");
    assert!(process.wait(SOON).is_some_and(|status| status.success()));
}

#[test]
fn each_offload_is_logged_as_the_options_and_the_environment_have_it() {
    if !possible("each_offload_is_logged_as_the_options_and_the_environment_have_it") {
        return;
    }
    let (bench, at) = alone();
    let logged = |words: &[&str]| {
        let mut words = words.to_vec();
        words.insert(0, "env");
        let mut process = bench.spawn(&at, &words);
        assert!(wait_until(SOON, || bench.exists(&at, SOCKET) && process.log().contains(" is ready")), "{words:?}");
        let log = process.log();
        process.signal(Signal::SIGTERM).expect("sent");
        assert!(process.wait(SOON).is_some_and(|status| status.success()));
        let told: Vec<&str> = log.lines().filter_map(|line| line.split_once("offloads: ")).map(|(_, it)| it).collect();
        assert_eq!(told.len(), 1, "{log}");
        told[0].to_owned()
    };
    let level = "LOG_LEVEL=info";
    let plain = logged(&[level, TURNPIKE, "tunnel", "-f", "wg0"]);
    assert!(plain.contains("udp_gso on") && !plain.contains(" off"), "{plain}");
    let environment = "TURNPIKE_WITHOUT_OFFLOADS=udp_gro";
    let fewer = logged(&[level, environment, TURNPIKE, "tunnel", "-f", "--without-offload", "tun_tso,udp_gso", "wg0"]);
    let switched = ["tun_tso on", "udp_gso on", "udp_gro on"];
    let off = |one: &str| if switched.contains(&one) { one.replace(" on", " off") } else { one.to_owned() };
    assert_eq!(fewer, plain.split(", ").map(off).collect::<Vec<_>>().join(", "));
    let none = logged(&[level, "TURNPIKE_WITHOUT_OFFLOADS=all", TURNPIKE, "tunnel", "-f", "wg0"]);
    assert!(none.matches(" off").count() == 6 && !none.contains(" on"), "{none}");
}

#[test]
fn descriptors_that_are_handed_down_are_used() {
    if !possible("descriptors_that_are_handed_down_are_used") {
        return;
    }
    let (bench, at) = alone();
    // Perl, which every Debian has, opens the device under another name and the socket, and hands both down.
    let script = format!(
        "use Socket; $^F = 255;\n\
         open(my $tun, '+<', '/dev/net/tun') or die;\n\
         my $request = pack('a16 s x22', 'handed', 0x1001); ioctl($tun, 0x400454ca, $request) or die;\n\
         mkdir '/var/run/wireguard';\n\
         socket(my $socket, PF_UNIX, SOCK_STREAM, 0) or die;\n\
         bind($socket, pack_sockaddr_un('/var/run/wireguard/handed.sock')) or die;\n\
         listen($socket, 5) or die;\n\
         $ENV{{WG_TUN_FD}} = fileno($tun); $ENV{{WG_UAPI_FD}} = fileno($socket);\n\
         exec('{TURNPIKE}', 'tunnel', '-f', 'wg0');\n"
    );
    let mut process = bench.spawn(&at, &["perl", "-e", &script]);
    let key = wait_for(SOON, || bench.run(&at, &["wg", "show", "handed", "listen-port"]).ok());
    assert!(key.is_some(), "{}", process.log());
    assert!(!device_exists(&at, "wg0"));
    process.signal(Signal::SIGTERM).expect("sent");
    assert!(process.wait(SOON).is_some_and(|status| status.success()), "{}", process.log());
}

#[test]
fn a_device_moved_to_another_namespace_keeps_its_sockets_where_they_were() {
    if !possible("a_device_moved_to_another_namespace_keeps_its_sockets_where_they_were") {
        return;
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    let inside = Namespace::new("inside").expect("a namespace without a wire");
    let [left, right] = pair(&bench, &wire, [Turnpike, WireguardGo], "192.0.2.2".parse().expect("an address"));
    wire.left.ip(&format!("link set wgl netns {}", inside.path().display())).expect("moved");
    assert!(!device_exists(&wire.left, "wgl"));
    for address in ["10.9.0.1/24", "fd09::1/64"] {
        inside.address("wgl", address).expect("an address");
    }
    let reaches = |to: &str| wait_until(SOON, || inside.run("ping", ["-n", "-c", "1", "-W", "1", to]).is_ok());
    assert!(reaches("10.9.0.2") && reaches("fd09::2"), "{}", left.process.log());
    assert!(right.reaches("10.9.0.1"));
    // Also sockets that are bound anew.
    left.set("listen-port 40404");
    assert!(reaches("10.9.0.2"), "{}", left.process.log());
    assert_eq!(right.shown("endpoints", &left.key).as_deref(), Some("192.0.2.1:40404"));
    inside.ip("link delete wgl").expect("deleted");
    let mut left = left;
    assert!(left.process.wait(SOON).is_some_and(|status| status.success()), "{}", left.process.log());
}
