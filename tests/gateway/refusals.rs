//! What a gateway refuses to start with: cause, remedy, exit code, and a kernel that is as it was.

use std::process::{Command, Output};

use turnpike::identity::Signer;
use turnpike::lab::guard::skip;

use crate::place::{Build, PATIENCE, Place};

/// Runs it to its end, which must come by itself.
fn run(mut command: Command) -> Output {
    command.output().expect("it ran")
}

/// Holds a refusal to its form, and the kernel to what it was.
fn refuse(place: &Place, gateway: &str, command: Command, code: i32, cause: &str, remedy: &str) {
    let before = place.kernel(gateway);
    let output = run(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{said}"));
    assert!(error.contains(cause), "{said}");
    let help = said.lines().find(|line| line.starts_with("  help: ")).unwrap_or_else(|| panic!("{said}"));
    assert!(help.contains(remedy), "{said}");
    assert_eq!(before, place.kernel(gateway), "the kernel was touched");
}

#[test]
fn a_bundle_that_is_not_to_be_believed_is_refused_by_cause() {
    if skip("a_bundle_that_is_not_to_be_believed_is_refused_by_cause") {
        return;
    }
    let place = Place::new();
    let edge = || place.command("leeds-1");
    let bundle = place.bundle("leeds-1");
    let good = std::fs::read(&bundle).expect("a bundle");

    std::fs::write(&bundle, &good[..good.len() - 10]).expect("written");
    refuse(&place, "leeds-1", edge(), 1, "truncated", "copy the bundle again");
    std::fs::write(&bundle, "nonsense").expect("written");
    refuse(&place, "leeds-1", edge(), 1, "not a bundle", "copy the bundle again");
    let text = String::from_utf8(good.clone()).expect("text");
    std::fs::write(&bundle, text.replacen("revenues", "revenuez", 1)).expect("written");
    refuse(&place, "leeds-1", edge(), 1, "hash does not match", "copy the bundle again");
    place.build_signed(Build::default(), &Signer::generate().expect("entropy"));
    refuse(&place, "leeds-1", edge(), 1, "signature is not that of the key trusted", "trust file of the same signer");
    place.build(Build::default());
    std::fs::copy(place.bundle("bradford-1"), &bundle).expect("copied");
    refuse(&place, "leeds-1", edge(), 1, "'fibre' of 'bradford-1'", "its own bundle and its own keys");
    std::fs::remove_file(&bundle).expect("removed");
    refuse(&place, "leeds-1", edge(), 69, "holds no last good bundle", "check that");
}

#[test]
fn a_generation_below_the_one_taken_is_refused_also_after_a_restart() {
    if skip("a_generation_below_the_one_taken_is_refused_also_after_a_restart") {
        return;
    }
    let place = Place::new();
    place.build(Build { generation: 5, ..Build::default() });
    assert!(place.start("leeds-1").stop(PATIENCE).expect("stopped").success());
    place.build(Build { generation: 4, ..Build::default() });
    let _again = place.start("leeds-1");
    let status = place.status("leeds-1");
    assert_eq!(status.configuration.generation, 5, "the last good one is in force");
    let condition =
        status.conditions.iter().find(|condition| condition.id == "running-from-state").expect("it is said");
    assert!(condition.text.contains("generation 4") && condition.text.contains("never falls"), "{}", condition.text);
}

#[test]
fn what_the_host_lacks_is_named_before_the_kernel_is_touched() {
    if skip("what_the_host_lacks_is_named_before_the_kernel_is_touched") {
        return;
    }
    let place = Place::new();
    let edge = || place.command("leeds-1");

    place.build(Build { segment: "eth7", ..Build::default() });
    refuse(&place, "leeds-1", edge(), 69, "device eth7 of department leeds/revenues", "'ip link' shows");
    place.build(Build::default());

    let mut command = edge();
    command.env("TURNPIKE_WITHOUT_OFFLOADS", "udp_gso,gso");
    refuse(&place, "leeds-1", command, 64, "'gso'", "unset TURNPIKE_WITHOUT_OFFLOADS");

    let mut command = edge();
    command.env("TURNPIKE_WORKERS", "many");
    refuse(&place, "leeds-1", command, 64, "'many'", "unset TURNPIKE_WORKERS");

    place.leeds.ip("link add turnpike0 type bridge").expect("a device of that name");
    refuse(&place, "leeds-1", edge(), 69, "device turnpike0 exists already", "--device");
    place.leeds.ip("link del turnpike0").expect("removed");

    let shell = |script: &str| {
        let mut command = place.leeds.command("unshare");
        command.args(["--mount", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_turnpike")]);
        command.args(place.arguments("leeds-1"));
        command
    };
    let hide = "for f in /usr/sbin/nft /sbin/nft; do [ -x $f ] && mount --bind /dev/null $f; done; exec \"$@\"";
    refuse(&place, "leeds-1", shell(hide), 69, "'nft' is not in PATH", "apt install nftables");

    let unprivileged = "exec setpriv --bounding-set -net_admin --inh-caps -net_admin \"$@\"";
    refuse(&place, "leeds-1", shell(unprivileged), 77, "CAP_NET_ADMIN is missing", "run as root");

    let taken = place.hub.enter(|| std::net::UdpSocket::bind("0.0.0.0:51820")).expect("entered").expect("bound");
    refuse(&place, "hub-a", place.command("hub-a"), 69, "UDP port of 0.0.0.0:51820 is in use", "'ss -lunp'");
    drop(taken);
    let taken = place.hub.enter(|| std::net::TcpListener::bind("127.0.0.1:9587")).expect("entered").expect("bound");
    refuse(&place, "hub-a", place.command("hub-a"), 69, "TCP port of 127.0.0.1:9587 is in use", "--metrics");
    drop(taken);

    // Half-way: the ruleset is loaded and routes stand when the address is refused. All of it must go again.
    for value in ["1", "0"] {
        place.leeds.sysctl("net.ipv6.conf.eth1.disable_ipv6", value).expect("a sysctl");
        if value == "1" {
            refuse(&place, "leeds-1", edge(), 70, "add address fd00:1::1/64 on eth1", "disable_ipv6");
        }
    }

    // The canary: with nothing in its way, it starts.
    drop(place.start("leeds-1"));
    drop(place.start("hub-a"));
}

#[test]
fn a_second_gateway_on_the_same_state_is_refused_and_the_first_goes_on() {
    if skip("a_second_gateway_on_the_same_state_is_refused_and_the_first_goes_on") {
        return;
    }
    let place = Place::new();
    let _first = place.start("leeds-1");
    let output = run(place.command("leeds-1"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("another gateway uses the state") && said.contains("--state"), "{said}");
    assert_eq!(place.status("leeds-1").configuration.generation, 1);
}

#[test]
fn where_no_gateway_runs_status_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnpike"));
    command.args(["status", "--state"]).arg(folder.path());
    let output = run(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("no gateway runs") && said.contains("turnpike gateway run"), "{said}");
}

#[test]
fn a_state_of_a_later_version_is_refused_and_left_as_it_is() {
    if skip("a_state_of_a_later_version_is_refused_and_left_as_it_is") {
        return;
    }
    let place = Place::new();
    assert!(place.start("leeds-1").stop(PATIENCE).expect("stopped").success());
    for record in ["floor", "clock", "notices", "pending"] {
        let path = place.state("leeds-1").join(record);
        let before = std::fs::read(&path).ok();
        std::fs::write(&path, b"turnpike-state 2 blake3:00\n{}").expect("written");
        let output = run(place.command("leeds-1"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{record}: {said}");
        assert!(said.contains("written by a later version") && said.contains("--state"), "{record}: {said}");
        assert_eq!(std::fs::read(&path).expect("it is there"), b"turnpike-state 2 blake3:00\n{}", "{record}");
        match before {
            Some(octets) => std::fs::write(&path, octets).expect("as before"),
            None => std::fs::remove_file(&path).expect("as before"),
        }
    }
    // The canary.
    drop(place.start("leeds-1"));
}
