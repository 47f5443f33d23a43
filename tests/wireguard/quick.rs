//! `wg-quick up` and `down` with turnpike as the userspace implementation.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use turnpike::identity::PrivateKey;
use turnpike::lab::guard::{Namespace, wait_until};

use crate::bench::{Bench, SOON, TURNPIKE, Wire, text};
use crate::engine::{Engine, possible};

/// The user's `wg-quick` beside an `ip` that knows no WireGuard devices, as a kernel without the module: it looks
/// for programs beside itself first.
fn install(folder: &Path) {
    let which = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.exists()).expect(name)
    };
    std::fs::copy(which("wg-quick"), folder.join("wg-quick")).expect("a copy");
    let ip = format!(
        "#!/bin/sh\ncase \"$*\" in 'link add '*' type wireguard') exit 2;; esac\nexec {} \"$@\"\n",
        which("ip").display()
    );
    std::fs::write(folder.join("ip"), ip).expect("a script");
    std::fs::set_permissions(folder.join("ip"), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    symlink(TURNPIKE, folder.join("turnpike-tunnel")).expect("a link");
}

fn quick(bench: &Bench, at: &Namespace, action: &str, conf: &str) -> String {
    let (program, engine) = (bench.file("wg-quick"), bench.file("turnpike-tunnel"));
    let engine = format!("WG_QUICK_USERSPACE_IMPLEMENTATION={}", text(&engine));
    let (exit, stderr) = bench.outcome(at, &["env", &engine, text(&program), action, conf]);
    assert_eq!(exit, Some(0), "wg-quick {action}: {stderr}");
    stderr
}

#[test]
fn wg_quick_brings_turnpike_up_and_down_against_wireguard_go() {
    if !possible("wg_quick_brings_turnpike_up_and_down_against_wireguard_go") {
        return;
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    install(bench.folder());
    let right = Engine::WireguardGo.start(&bench, &wire.right, "wgr");
    right.inner("10.9.0.2/24", "fd09::2/64");
    let key = PrivateKey::generate().expect("a key");
    right.set(&format!("listen-port 51820 peer {} allowed-ips 10.9.0.1/32,fd09::1/128", key.public()));
    let conf = format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.9.0.1/32, fd09::1/128\n\n\
         [Peer]\nPublicKey = {}\nAllowedIPs = 10.9.0.2/32, fd09::2/128, 10.10.0.0/16\nEndpoint = 192.0.2.2:51820\n",
        key.to_base64().as_str(),
        right.key,
    );
    let path = bench.file("wgq.conf");
    std::fs::write(&path, conf).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    for _ in 0..3 {
        let said = quick(&bench, &wire.left, "up", text(&path));
        assert!(said.contains("turnpike-tunnel wgq"), "{said}");
        for to in ["10.9.0.2", "fd09::2"] {
            let reached = wait_until(SOON, || wire.left.run("ping", ["-n", "-c", "1", "-W", "1", to]).is_ok());
            assert!(reached, "{to}: {}", right.process.log());
        }
        assert!(wire.left.ip("route show 10.10.0.0/16").expect("routes").contains("dev wgq"));
        quick(&bench, &wire.left, "down", text(&path));
        assert!(wait_until(SOON, || wire.left.processes().is_empty()), "{:?}", wire.left.processes());
        assert!(!bench.exists(&wire.left, "/var/run/wireguard/wgq.sock"));
        assert!(wire.left.ip("link show wgq").is_err());
    }
}

#[test]
fn a_default_route_through_the_tunnel_does_not_swallow_the_tunnel() {
    if !possible("a_default_route_through_the_tunnel_does_not_swallow_the_tunnel") {
        return;
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    install(bench.folder());
    let right = Engine::WireguardGo.start(&bench, &wire.right, "wgr");
    right.inner("10.9.0.2/24", "fd09::2/64");
    // An address that is reached by the default route alone.
    right.at.address("lo", "203.0.113.9/32").expect("an address");
    let key = PrivateKey::generate().expect("a key");
    right.set(&format!("listen-port 51820 peer {} allowed-ips 10.9.0.1/32,fd09::1/128", key.public()));
    let conf = format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.9.0.1/32\n\n\
         [Peer]\nPublicKey = {}\nAllowedIPs = 0.0.0.0/0\nEndpoint = 192.0.2.2:51820\n",
        key.to_base64().as_str(),
        right.key,
    );
    let path = bench.file("wgd.conf");
    std::fs::write(&path, conf).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    quick(&bench, &wire.left, "up", text(&path));
    let reached = wait_until(SOON, || wire.left.run("ping", ["-n", "-c", "1", "-W", "1", "203.0.113.9"]).is_ok());
    let state = bench.run(&wire.left, &["wg", "show", "wgd"]);
    assert!(reached, "by the mark, datagrams take the wire: {state:?}");
    quick(&bench, &wire.left, "down", text(&path));
    assert!(wait_until(SOON, || wire.left.processes().is_empty()), "{:?}", wire.left.processes());
}
