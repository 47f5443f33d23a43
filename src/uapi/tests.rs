//! The protocol as pure functions: each key, each refusal, and what any octets may do.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use nix::errno::Errno;
use proptest::prelude::*;

use super::*;
use crate::dataplane::{LinkId, LinkSnapshot, Plan, SiteId, Snapshot, SocketSnapshot};
use crate::identity::{PresharedKey, PrivateKey, PublicKey};
use crate::net::Prefix;

/// Unclamped, to see that it is clamped.
const SECRET: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

fn no_zone(_: &str) -> Option<u32> {
    None
}

fn hex_key(octet: u8) -> String {
    hex::encode([octet; 32])
}

fn key(octet: u8) -> PublicKey {
    PublicKey::from_octets([octet; 32])
}

fn prefix(text: &str) -> Prefix {
    text.parse().expect("a prefix")
}

fn read(octets: &[u8]) -> Result<Request, Refusal> {
    let mut rest = octets;
    let outcome = Reader::default().read(&mut rest, &no_zone).expect("a whole request");
    assert!(rest.is_empty(), "read to the end");
    outcome
}

fn change(lines: &str) -> Result<Change, Refusal> {
    match read(format!("set=1\n{lines}\n").as_bytes())? {
        Request::Set(change) => Ok(change),
        Request::Get => panic!("a set"),
    }
}

fn configured(sets: &[&str]) -> Config {
    sets.iter().fold(Config::default(), |config, lines| config.applied(&change(lines).expect(lines)))
}

fn peer_lines(octet: u8, lines: &str) -> String {
    format!("public_key={}\n{lines}", hex_key(octet))
}

fn only_peer(lines: &str) -> PeerChange {
    let mut change = change(&peer_lines(7, lines)).expect(lines);
    assert_eq!(change.peers.len(), 1);
    change.peers.remove(0)
}

fn owner(plan: &Plan, text: &str) -> Option<SiteId> {
    plan.routes.iter().find(|(route, _)| *route == prefix(text)).map(|(_, site)| *site)
}

fn sites(plan: &Plan) -> Vec<u32> {
    plan.sites.iter().map(|site| site.id.0).collect()
}

#[test]
fn get_is_its_line_and_an_empty_one() {
    assert_eq!(read(b"get=1\n\n"), Ok(Request::Get));
    assert_eq!(read(b"get=1\nprivate_key=\n\n"), Err(Refusal::TrailingLine));
}

#[test]
fn each_interface_key_is_read() {
    let change = change(&format!("private_key={SECRET}\nlisten_port=51820\nfwmark=4294967295\nreplace_peers=true\n"))
        .expect("all keys");
    let clamped = change.key.flatten().expect("a key");
    assert_eq!((clamped.octets()[0], clamped.octets()[31]), (0xf8, 0x7f));
    assert_eq!(change.port, Some(51820));
    assert_eq!(change.mark, Some(u32::MAX));
    assert!(change.replace_peers);
}

#[test]
fn a_key_of_zeros_takes_the_key_away() {
    let zeros = hex_key(0);
    assert_eq!(change(&format!("private_key={zeros}\n")).expect("zeros").key, Some(None));
    assert_eq!(only_peer(&format!("preshared_key={zeros}\n")).preshared, Some(None));
}

#[test]
fn each_peer_key_is_read() {
    let psk = hex_key(9);
    let lines = format!(
        "update_only=true\npreshared_key={psk}\nendpoint=192.0.2.1:51820\npersistent_keepalive_interval=25\n\
         replace_allowed_ips=true\nallowed_ip=10.0.0.9/8\nallowed_ip=-fd00::/64\nprotocol_version=1\n"
    );
    let expected = PeerChange {
        update_only: true,
        preshared: Some(PresharedKey::from_octets([9; 32])),
        endpoint: Some("192.0.2.1:51820".parse().expect("an endpoint")),
        keepalive: Some(25),
        replace_allowed: true,
        allowed: vec![AllowedChange::Add(prefix("10.0.0.0/8")), AllowedChange::Remove(prefix("fd00::/64"))],
        ..PeerChange::new(key(7))
    };
    assert_eq!(only_peer(&lines), expected);
    assert!(only_peer("remove=true\n").remove);
}

#[test]
fn endpoints_of_both_families_and_with_zones_are_read() {
    let zone = |name: &str| (name == "eth0").then_some(3);
    let endpoint = |text: &str| {
        let request = format!("set=1\npublic_key={}\nendpoint={text}\n\n", hex_key(7));
        let outcome = Reader::default().read(&mut request.as_bytes(), &zone).expect("a whole request");
        outcome.ok().and_then(|request| match request {
            Request::Set(change) => change.peers[0].endpoint,
            Request::Get => None,
        })
    };
    for text in ["192.0.2.1:1", "[2001:db8::1]:65535", "[fe80::1%3]:51820"] {
        assert_eq!(endpoint(text), text.parse().ok(), "{text}");
    }
    assert_eq!(endpoint("[fe80::1%eth0]:51820"), endpoint("[fe80::1%3]:51820"));
    for text in [
        "",
        "192.0.2.1",
        "192.0.2.1:",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "192.0.2.1:+1",
        "2001:db8::1:51820",
        "[2001:db8::1]",
        "[192.0.2.1]:1",
        "hub.example:51820",
        "[fe80::1%eth9]:1",
        "[fe80::1%]:1",
        "[fe80::1%3]:+1",
        "[192.0.2.1%3]:1",
    ] {
        assert_eq!(endpoint(text), None, "{text}");
    }
}

#[test]
fn each_value_out_of_range_is_refused_by_its_key() {
    let interface = [
        "private_key=00",
        "listen_port=65536",
        "listen_port=-1",
        "listen_port=",
        "listen_port= 1",
        "fwmark=4294967296",
        "fwmark=0x1",
        "replace_peers=false",
        "replace_peers=",
    ];
    let peer = [
        "preshared_key=zz",
        "endpoint=x",
        "persistent_keepalive_interval=65536",
        "persistent_keepalive_interval=off",
        "update_only=1",
        "remove=yes",
        "replace_allowed_ips=false",
        "allowed_ip=10.0.0.0",
        "allowed_ip=10.0.0.0/33",
        "allowed_ip=fd00::/129",
        "allowed_ip=--10.0.0.0/8",
        "allowed_ip=",
        "protocol_version=2",
    ];
    let bad = |lines: &str, line: u64, at: &str| match change(lines) {
        Err(Refusal::BadValue { line: found, key, .. }) => {
            assert_eq!((found, Some(key)), (line, at.split('=').next()), "{lines}");
        }
        other => panic!("{lines}: {other:?}"),
    };
    for text in interface {
        bad(&format!("{text}\n"), 2, text);
    }
    for text in peer {
        bad(&peer_lines(7, &format!("{text}\n")), 3, text);
    }
    bad("public_key=12\n", 2, "public_key");
}

#[test]
fn a_key_in_the_wrong_section_is_refused() {
    let unknown = |lines: &str, line, key: &str, section| {
        assert_eq!(change(lines), Err(Refusal::UnknownKey { line, key: key.into(), section }));
    };
    unknown("allowed_ip=10.0.0.0/8\n", 2, "allowed_ip", Section::Interface);
    unknown("mtu=1420\n", 2, "mtu", Section::Interface);
    unknown(&peer_lines(7, "listen_port=1\n"), 3, "listen_port", Section::Peer);
    unknown(&peer_lines(7, "last_handshake_time_sec=1\n"), 3, "last_handshake_time_sec", Section::Peer);
    unknown("=\n", 2, "", Section::Interface);
}

#[test]
fn a_line_that_is_no_pair_is_a_protocol_error() {
    assert_eq!(change("private_key\n"), Err(Refusal::NotKeyValue { line: 2 }));
    assert_eq!(read(b"set=1\n\xff=1\n\n"), Err(Refusal::NotKeyValue { line: 2 }));
    assert_eq!(read(b"set=2\n"), Err(Refusal::UnknownOperation));
    assert_eq!(read(b"\n"), Err(Refusal::UnknownOperation));
}

#[test]
fn refusals_do_not_repeat_values() {
    let refusal = change(&format!("private_key={}\n", &SECRET[1..])).expect_err("63 digits");
    assert!(!refusal.to_string().contains("ffff"), "{refusal}");
    assert_eq!(refusal.to_string(), "line 2: private_key takes 64 hexadecimal digits");
}

#[test]
fn errnos_are_those_of_wireguard_go() {
    let errno = |octets: &[u8]| read(octets).expect_err("a refusal").errno();
    assert_eq!(errno(b"set=1\nlisten_port=70000\n\n"), Errno::EINVAL);
    assert_eq!(errno(b"set=1\nfoo=bar\n\n"), Errno::EINVAL);
    assert_eq!(errno(b"set=1\nfoo\n\n"), Errno::EPROTO);
    assert_eq!(*text::status(Err(Errno::EINVAL)), "errno=-22\n\n");
    assert_eq!(*text::status(Ok(())), "errno=0\n\n");
}

#[test]
fn lines_and_requests_are_bounded() {
    let longest = format!("{}=", "k".repeat(LINE_LIMIT - 1));
    assert!(matches!(change(&format!("{longest}\n")), Err(Refusal::UnknownKey { .. })));
    let mut reader = Reader::default();
    let octets = format!("set=1\n{longest}x");
    assert_eq!(reader.read(&mut octets.as_bytes(), &no_zone), Some(Err(Refusal::LineTooLong)));

    let mut reader = Reader::default();
    let lines = "fwmark=1\n".repeat(1 << 17);
    let mut given = "set=1\n".len();
    assert_eq!(reader.read(&mut b"set=1\n".as_slice(), &no_zone), None);
    loop {
        let outcome = reader.read(&mut lines.as_bytes(), &no_zone);
        given += lines.len();
        match outcome {
            None => assert!(given <= REQUEST_LIMIT),
            Some(outcome) => {
                assert_eq!(outcome, Err(Refusal::RequestTooLong));
                assert!(given > REQUEST_LIMIT);
                break;
            }
        }
    }
}

#[test]
fn several_requests_on_one_connection_are_told_apart_after_a_refusal_too() {
    let mut octets: &[u8] = b"get=1\n\nset=1\nfoo=1\nlisten_port=1\n\nset=1\nlisten_port=2\n\nget=1\n";
    let mut reader = Reader::default();
    assert_eq!(reader.read(&mut octets, &no_zone), Some(Ok(Request::Get)));
    assert!(matches!(reader.read(&mut octets, &no_zone), Some(Err(Refusal::UnknownKey { line: 2, .. }))));
    let port = Change { port: Some(2), ..Change::default() };
    assert_eq!(reader.read(&mut octets, &no_zone), Some(Ok(Request::Set(port))));
    assert_eq!(reader.read(&mut octets, &no_zone), None);
    assert_eq!(reader.read(&mut b"\n".as_slice(), &no_zone), Some(Ok(Request::Get)));
}

#[test]
fn values_that_are_not_named_stay() {
    let lines = peer_lines(7, "endpoint=192.0.2.1:1\npersistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\n");
    let before = configured(&[&format!("private_key={SECRET}\nlisten_port=1\nfwmark=2\n{lines}")]);
    assert_eq!(before.applied(&Change::default()), before);
    let after = before.applied(&change(&peer_lines(7, "allowed_ip=10.1.0.0/16\n")).expect("a change"));
    let (plan, old) = (after.plan(), before.plan());
    assert_eq!((&plan.sockets, &plan.links, plan.mark), (&old.sockets, &old.links, 2));
    assert_eq!(plan.routes.len(), 2);
}

#[test]
fn a_peer_is_a_site_with_one_link_on_the_one_socket() {
    let psk = hex_key(9);
    let plan = configured(&[
        &format!("private_key={SECRET}\nlisten_port=51820\nfwmark=7\n"),
        &peer_lines(1, "allowed_ip=10.0.0.0/8\nallowed_ip=fd00::/64\n"),
        &peer_lines(2, &format!("preshared_key={psk}\nendpoint=[::1]:9\npersistent_keepalive_interval=25\n")),
    ])
    .plan();
    assert_eq!((plan.sockets.len(), plan.sockets[0].port, plan.mark), (1, 51820, 7));
    assert!(plan.sockets[0].key.is_some());
    assert_eq!(sites(&plan), [0, 1]);
    assert!(plan.sites.iter().all(|site| site.links == [LinkId(site.id.0)] && site.also_from.is_empty()));
    assert_eq!(owner(&plan, "fd00::/64"), Some(SiteId(0)));
    let link = &plan.links[1];
    assert_eq!((link.key, link.keepalive, link.warm), (key(2), Some(Duration::from_secs(25)), false));
    assert_eq!(link.preshared, PresharedKey::from_octets([9; 32]));
    assert_eq!(link.endpoint.map(|endpoint| endpoint.address), "[::1]:9".parse().ok());
    assert_eq!(plan.links[0].keepalive, None);
}

#[test]
fn a_prefix_moves_to_the_peer_that_names_it_last() {
    let plan = configured(&[
        &peer_lines(1, "allowed_ip=10.0.0.0/8\nallowed_ip=10.1.0.0/16\n"),
        &peer_lines(2, "allowed_ip=10.0.0.0/8\n"),
    ])
    .plan();
    assert_eq!(owner(&plan, "10.0.0.0/8"), Some(SiteId(1)));
    assert_eq!(owner(&plan, "10.1.0.0/16"), Some(SiteId(0)));
}

#[test]
fn a_peer_gives_up_only_prefixes_of_its_own() {
    let config = configured(&[&peer_lines(1, "allowed_ip=10.0.0.0/8\n"), &peer_lines(2, "allowed_ip=-10.0.0.0/8\n")]);
    assert_eq!(owner(&config.plan(), "10.0.0.0/8"), Some(SiteId(0)));
    let config = config.applied(&change(&peer_lines(1, "allowed_ip=-10.0.0.0/8\n")).expect("a change"));
    assert_eq!(config.plan().routes, []);
}

#[test]
fn replacing_prefixes_spares_other_peers() {
    let plan = configured(&[
        &peer_lines(1, "allowed_ip=10.1.0.0/16\n"),
        &peer_lines(2, "allowed_ip=10.2.0.0/16\nallowed_ip=10.3.0.0/16\n"),
        &peer_lines(2, "replace_allowed_ips=true\nallowed_ip=10.4.0.0/16\n"),
    ])
    .plan();
    assert_eq!(plan.routes, [(prefix("10.1.0.0/16"), SiteId(0)), (prefix("10.4.0.0/16"), SiteId(1))]);
}

#[test]
fn a_removed_peer_takes_its_prefixes_and_its_number_with_it() {
    let plan = configured(&[
        &peer_lines(1, "allowed_ip=10.0.0.0/8\n"),
        &peer_lines(1, "remove=true\nallowed_ip=10.9.0.0/16\n"),
        &peer_lines(1, ""),
    ])
    .plan();
    assert_eq!((sites(&plan), plan.routes.len()), (vec![1], 0));
}

#[test]
fn what_is_to_update_or_to_go_is_not_made() {
    let config =
        configured(&[&peer_lines(1, "update_only=true\nallowed_ip=10.0.0.0/8\n"), &peer_lines(2, "remove=true\n")]);
    assert_eq!(config, Config::default());
}

#[test]
fn update_only_changes_a_peer_that_is_there() {
    let config = configured(&[&peer_lines(1, ""), &peer_lines(1, "update_only=true\nallowed_ip=10.0.0.0/8\n")]);
    assert_eq!(config.plan().routes.len(), 1);
}

#[test]
fn replacing_peers_makes_new_ones_as_the_kernel_does() {
    let again = format!("replace_peers=true\n{}", peer_lines(1, ""));
    let plan = configured(&[&(peer_lines(1, "allowed_ip=10.0.0.0/8\n") + &peer_lines(2, "")), &again]).plan();
    assert_eq!((sites(&plan), plan.routes.len()), (vec![2], 0));
}

#[test]
fn a_peer_with_our_own_key_is_passed_over() {
    let own = change(&format!("private_key={SECRET}\n")).expect("a key").key.flatten().expect("a key").public();
    let lines = format!("public_key={}\nallowed_ip=10.0.0.0/8\n", hex::encode(own.octets()));
    let config = configured(&[&format!("private_key={SECRET}\n{lines}{}", peer_lines(1, ""))]);
    assert_eq!((sites(&config.plan()), config.plan().routes.len()), (vec![0], 0));
    let config = configured(&[&format!("{lines}{}", peer_lines(1, "")), &format!("private_key={SECRET}\n")]);
    assert_eq!((sites(&config.plan()), config.plan().routes.len()), (vec![1], 0), "one that was there goes");
}

#[test]
fn an_endpoint_set_again_is_another_revision() {
    let set = peer_lines(1, "endpoint=192.0.2.1:1\n");
    let revision = |sets: &[&str]| configured(sets).plan().links[0].endpoint.map(|endpoint| endpoint.revision);
    assert_ne!(revision(&[&set]), revision(&[&set, &set]));
    assert_eq!(revision(&[&set]), revision(&[&set, "fwmark=1\n", &peer_lines(1, "persistent_keepalive_interval=1\n")]));
}

#[test]
fn get_tells_the_interface_and_each_peer_as_wg_reads_it() {
    let psk = hex_key(9);
    let config = configured(&[&format!(
        "private_key={SECRET}\nfwmark=16\n{}{}",
        peer_lines(2, &format!("preshared_key={psk}\nendpoint=192.0.2.1:1\nallowed_ip=10.0.0.0/8\n")),
        peer_lines(1, "persistent_keepalive_interval=25\nendpoint=[2001:db8::1]:1\n"),
    )]);
    let link = LinkSnapshot {
        id: LinkId(0),
        endpoint: "198.51.100.7:4500".parse().ok(),
        last_handshake: Some(UNIX_EPOCH + Duration::new(1_700_000_000, 5)),
        handshake_rtt: None,
        alive: true,
        received_bytes: 92,
        sent_bytes: 148,
        received_packets: 1,
        sent_packets: 1,
        handshakes: 1,
        endpoint_changes: 1,
        estimated_loss: 0.0,
        trains: true,
    };
    let sockets = vec![SocketSnapshot { id: SOCKET, port: 51821 }];
    let snapshot = Snapshot { sockets, links: vec![link], ..Snapshot::default() };
    let clamped = format!("f8{}7f", &SECRET[4..]);
    let (one, two, zeros) = (hex_key(1), hex_key(2), hex_key(0));
    let expected = format!(
        "private_key={clamped}\nlisten_port=51821\nfwmark=16\n\
         public_key={two}\npreshared_key={psk}\nprotocol_version=1\nendpoint=198.51.100.7:4500\n\
         last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\ntx_bytes=148\nrx_bytes=92\n\
         persistent_keepalive_interval=0\nallowed_ip=10.0.0.0/8\n\
         public_key={one}\npreshared_key={zeros}\nprotocol_version=1\nendpoint=[2001:db8::1]:1\n\
         last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\n\
         persistent_keepalive_interval=25\nerrno=0\n\n"
    );
    assert_eq!(*text::state(&config, &snapshot), expected);
}

#[test]
fn an_empty_interface_tells_only_that_all_is_well() {
    assert_eq!(*text::state(&Config::default(), &Snapshot::default()), "errno=0\n\n");
}

fn any_peer() -> impl Strategy<Value = String> {
    let address = prop_oneof![
        any::<[u8; 4]>().prop_map(std::net::IpAddr::from),
        any::<[u8; 16]>().prop_map(std::net::IpAddr::from)
    ];
    let endpoint = (address.clone(), 1..=u16::MAX).prop_map(|(address, port)| SocketAddr::from((address, port)));
    let allowed = proptest::collection::vec((address, 0_u8..=32), 0..4);
    (1_u8..6, proptest::option::of(endpoint), any::<u16>(), allowed, any::<[u8; 3]>()).prop_map(
        |(octet, endpoint, keepalive, allowed, flags)| {
            let mut lines = peer_lines(octet, &format!("persistent_keepalive_interval={keepalive}\n"));
            lines.extend(endpoint.map(|endpoint| format!("endpoint={endpoint}\n")));
            lines.extend(allowed.iter().map(|(address, length)| format!("allowed_ip={address}/{length}\n")));
            for (flag, line) in flags.iter().zip(["remove", "update_only", "replace_allowed_ips"]) {
                lines.extend((*flag > 200).then(|| format!("{line}=true\n")));
            }
            lines
        },
    )
}

fn any_sets() -> impl Strategy<Value = Vec<String>> {
    let set = proptest::collection::vec(any_peer(), 0..4);
    let set = (proptest::option::of(any::<u8>()), any::<bool>(), set).prop_map(|(secret, replace, peers)| {
        let mut lines = String::new();
        lines.extend(secret.map(|octet| format!("private_key={}\n", hex_key(octet))));
        lines.extend(replace.then_some("replace_peers=true\n"));
        lines.extend(peers);
        lines
    });
    proptest::collection::vec(set, 1..5)
}

proptest! {
    #[test]
    fn no_octets_make_the_reader_panic(octets in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let mut rest = octets.as_slice();
        let mut reader = Reader::default();
        while reader.read(&mut rest, &no_zone).is_some() {}
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn no_lines_of_known_keys_make_the_reader_panic(
        lines in proptest::collection::vec(("(public_key|private_key|endpoint|allowed_ip|fwmark|x|)", "[-=%:./\\[\\]0-9a-f]{0,70}"), 0..12)
    ) {
        let text: String = lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        if let Ok(change) = change(&text) {
            let _plan = Config::default().applied(&change).plan();
        }
    }

    #[test]
    fn pieces_make_no_difference(sets in any_sets(), size in 1_usize..40) {
        let octets: String = sets.iter().map(|set| format!("set=1\n{set}\n")).collect();
        let mut reader = Reader::default();
        let mut outcomes = Vec::new();
        for piece in octets.as_bytes().chunks(size) {
            let mut piece = piece;
            while let Some(outcome) = reader.read(&mut piece, &no_zone) {
                outcomes.push(outcome);
            }
        }
        let whole: Vec<_> = sets.iter().map(|set| change(set).map(Request::Set)).collect();
        prop_assert_eq!(outcomes, whole);
    }

    #[test]
    fn a_configuration_stays_consistent_and_reads_back_as_told(sets in any_sets()) {
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let config = configured(&sets);
        let plan = config.plan();
        let own = config.key().map(PrivateKey::public);
        prop_assert!(plan.links.iter().all(|link| Some(link.key) != own));
        prop_assert!(plan.routes.iter().all(|(_, site)| plan.sites.iter().any(|known| known.id == *site)));
        prop_assert!(plan.routes.windows(2).all(|pair| pair[0].0 < pair[1].0), "a prefix stands once");

        let told = text::state(&config, &Snapshot::default());
        let settable = |line: &&str| {
            let read_only = ["last_handshake", "tx_bytes", "rx_bytes", "errno"];
            !line.is_empty() && !read_only.iter().any(|key| line.starts_with(key))
        };
        let lines: String = told.lines().filter(settable).map(|line| format!("{line}\n")).collect();
        prop_assert_eq!(text::state(&configured(&[&lines]), &Snapshot::default()), told);
    }
}
