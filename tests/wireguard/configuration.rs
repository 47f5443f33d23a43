//! `wg show`, `set`, `setconf`, `addconf`, `syncconf` and `showconf` against turnpike's configuration socket.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use turnpike::identity::PrivateKey;
use turnpike::lab::guard::Namespace;

use crate::bench::{Bench, SOON, Wire};
use crate::engine::{Engine, pair, possible};
use crate::traffic::Probes;

use Engine::{Turnpike, WireguardGo};

#[test]
fn showconf_gives_back_what_setconf_took() {
    if !possible("showconf_gives_back_what_setconf_took") {
        return;
    }
    let (bench, at) = (Bench::new(), Namespace::new("alone").expect("a namespace"));
    let key = || PrivateKey::generate().expect("a key");
    let peers: Vec<_> = (0..3).map(|_| key().public()).collect();
    let conf = format!(
        "[Interface]\nListenPort = 51821\nFwMark = 0x10\nPrivateKey = {}\n\n\
         [Peer]\nPublicKey = {}\nPresharedKey = {}\nAllowedIPs = 10.1.0.0/16, fd01::/64\nEndpoint = 192.0.2.7:5\n\
         PersistentKeepalive = 25\n\n\
         [Peer]\nPublicKey = {}\nEndpoint = [2001:db8::7]:5\n\n\
         [Peer]\nPublicKey = {}\nAllowedIPs = 0.0.0.0/0, ::/0\n",
        key().to_base64().as_str(),
        peers[0],
        key().to_base64().as_str(),
        peers[1],
        peers[2],
    );
    let path = bench.write("wg.conf", &conf);
    let shown = [Turnpike, WireguardGo].map(|engine| {
        let node = engine.start(&bench, &at, if engine == Turnpike { "wgt" } else { "wgg" });
        node.wg("setconf", &path).expect("setconf");
        let mut lines: Vec<String> = node
            .wg("showconf", "")
            .expect("showconf")
            .lines()
            .map(str::to_owned)
            .filter(|line| !line.is_empty())
            .collect();
        // Peers and prefixes have no order.
        lines.iter_mut().filter(|line| line.starts_with("AllowedIPs")).for_each(|line| {
            let mut prefixes: Vec<&str> = line.trim_start_matches("AllowedIPs = ").split(", ").collect();
            prefixes.sort_unstable();
            *line = prefixes.join(", ");
        });
        lines.sort_unstable();
        lines
    });
    assert_eq!(shown[0], shown[1]);
    assert!(shown[0].iter().any(|line| line == "FwMark = 0x10") && shown[0].len() > 15, "{shown:?}");
}

#[test]
fn syncconf_keeps_the_session_and_setconf_begins_anew() {
    if !possible("syncconf_keeps_the_session_and_setconf_begins_anew") {
        return;
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    let [left, right] = pair(&bench, &wire, [Turnpike, WireguardGo], "192.0.2.2".parse().expect("an address"));
    assert!(left.reaches("10.9.0.2"));
    let handshake = left.handshake(&right.key);
    let probes = Probes::start(&wire.left, &wire.right, "10.9.0.2:7000".parse().expect("an address"));
    let conf = left.wg("showconf", "").expect("showconf");
    let more = format!(
        "{conf}\n[Peer]\nPublicKey = {}\nAllowedIPs = 10.77.0.0/16\n",
        PrivateKey::generate().expect("a key").public()
    );
    left.wg("syncconf", &bench.write("more.conf", &more)).expect("syncconf");
    assert_eq!(left.wg("show", "peers").expect("peers").lines().count(), 2);
    left.wg("syncconf", &bench.write("same.conf", &conf)).expect("syncconf");
    assert_eq!(left.wg("show", "peers").expect("peers").lines().count(), 1);
    let added = format!("[Peer]\nPublicKey = {}\n", PrivateKey::generate().expect("a key").public());
    left.wg("addconf", &bench.write("added.conf", &added)).expect("addconf");
    assert_eq!(left.wg("show", "peers").expect("peers").lines().count(), 2);
    let heard = probes.end();
    assert!(heard.deaf < Duration::from_secs(1), "{heard:?}");
    assert_eq!(left.handshake(&right.key), handshake);

    left.wg("setconf", &bench.write("same.conf", &conf)).expect("setconf");
    assert_eq!(left.handshake(&right.key), 0, "as with the kernel, setconf makes new peers");
    assert!(left.reaches("10.9.0.2"), "{}", left.process.log());
}

#[test]
fn show_lists_the_interface_and_off_turns_things_off() {
    if !possible("show_lists_the_interface_and_off_turns_things_off") {
        return;
    }
    let (bench, at) = (Bench::new(), Namespace::new("alone").expect("a namespace"));
    let node = Turnpike.start(&bench, &at, "wg0");
    assert_eq!(bench.run(&at, &["wg", "show", "interfaces"]).expect("interfaces").trim(), "wg0");
    let peer = PrivateKey::generate().expect("a key").public();
    let psk = bench.preshared("psk");
    node.set(&format!("fwmark 7 peer {peer} preshared-key {psk} persistent-keepalive 9 allowed-ips 10.0.0.0/8"));
    let value = |what: &str| node.wg("show", what).expect("a value").trim().to_owned();
    assert_eq!(value("fwmark"), "0x7");
    assert_eq!(node.shown("persistent-keepalive", &peer).as_deref(), Some("9"));
    node.set(&format!("fwmark 0 peer {peer} preshared-key /dev/null persistent-keepalive off"));
    assert_eq!(value("fwmark"), "off");
    assert_eq!(node.shown("persistent-keepalive", &peer).as_deref(), Some("off"));
    assert_eq!(node.shown("preshared-keys", &peer).as_deref(), Some("(none)"));
    node.set("private-key /dev/null");
    assert_eq!(value("private-key"), "(none)");
    assert_ne!(value("listen-port"), "0", "the kernel has chosen one");
}

#[test]
fn a_peer_with_the_interfaces_own_key_is_passed_over() {
    if !possible("a_peer_with_the_interfaces_own_key_is_passed_over") {
        return;
    }
    let (bench, at) = (Bench::new(), Namespace::new("alone").expect("a namespace"));
    for engine in [Turnpike, WireguardGo] {
        let node = engine.start(&bench, &at, if engine == Turnpike { "wgt" } else { "wgg" });
        node.set(&format!("peer {} allowed-ips 10.0.0.0/8", node.key));
        assert_eq!(node.wg("show", "peers").expect("peers"), "", "{engine:?}");
        let key = PrivateKey::generate().expect("a key");
        node.set(&format!("peer {} allowed-ips 10.0.0.0/8", key.public()));
        assert_eq!(node.wg("show", "peers").expect("peers").lines().count(), 1, "{engine:?}");
        node.private_key(&key);
        assert_eq!(node.wg("show", "peers").expect("peers"), "", "{engine:?}");
    }
}

/// A second or two; several times that for a build with checks and without optimisation.
const CONFIGURED: Duration = Duration::from_secs(if cfg!(debug_assertions) { 15 } else { 3 });

/// 5,000 peers with 26 or 27 prefixes each, 130,560 in all, of which peer `n` has each 5,000th beginning with `n + shift`.
fn crowd(shift: u32) -> String {
    let prefix = |number: u32| format!("{}/28,", Ipv4Addr::from(0x0a00_0000 + (number + shift) % 130_560 * 16));
    let peer = |number: u32| {
        let mut octets = [7; 32];
        octets[..4].copy_from_slice(&number.to_be_bytes());
        let prefixes: String = (number..130_560).step_by(5000).map(prefix).collect();
        let key = turnpike::identity::PublicKey::from_octets(octets);
        format!("[Peer]\nPublicKey = {key}\nAllowedIPs = {}\n", prefixes.trim_end_matches(','))
    };
    let private = PrivateKey::generate().expect("a key");
    let interface = format!("[Interface]\nPrivateKey = {}\n", private.to_base64().as_str());
    std::iter::once(interface).chain((0..5000).map(peer)).collect()
}

#[test]
fn five_thousand_peers_with_130_560_prefixes_are_configured_at_once_and_refused_as_a_whole() {
    if !possible("five_thousand_peers_with_130_560_prefixes_are_configured_at_once_and_refused_as_a_whole") {
        return;
    }
    let (bench, at) = (Bench::new(), Namespace::new("alone").expect("a namespace"));
    let node = Turnpike.start(&bench, &at, "wg0");
    let shown = || {
        let table = node.wg("show", "allowed-ips").expect("prefixes");
        (table.lines().count(), table.matches("/28").count())
    };
    let paths = [bench.write("many.conf", &crowd(0)), bench.write("moved.conf", &crowd(1))];
    // The same peers anew; then another key of ours, and each prefix moves to another peer.
    for (command, path) in [("setconf", &paths[0]), ("setconf", &paths[0]), ("syncconf", &paths[1])] {
        let began = Instant::now();
        node.wg(command, path).expect("configured");
        let took = began.elapsed();
        println!("{command} took {took:?}");
        assert!(took < CONFIGURED, "{command} took {took:?}");
        assert_eq!(shown(), (5000, 130_560), "after {command}");
        assert_ne!(node.wg("show", "private-key").expect("a key").trim(), "(none)", "without it there are no links");
    }

    let request = "set=1\nreplace_peers=true\nlisten_port=1\nprivate_key=xyz\n\nget=1\n\n";
    let mut socket = UnixStream::connect(bench.socket("wg0")).expect("a connection");
    socket.set_read_timeout(Some(SOON)).expect("a time-out");
    socket.write_all(request.as_bytes()).expect("asked");
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer).expect("an answer");
    assert_eq!(answer.trim(), "errno=-22");
    assert_eq!(shown(), (5000, 130_560));
}
