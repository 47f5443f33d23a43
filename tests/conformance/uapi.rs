//! The configuration protocol, spoken directly: what `wg(8)` does not show.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use turnpike::identity::PrivateKey;
use turnpike::lab::guard::Namespace;

use crate::rig::Rig;
use crate::scenario::scenarios;

scenarios! {
    Light:
        get_tells_everything_that_set_took,
        one_connection_serves_many_requests,
        requests_that_come_together_are_each_answered,
        a_refused_request_tells_its_errno_and_leaves_the_peers_alone,
        update_only_makes_no_peer_and_remove_unmakes_one,
        requests_in_pieces_are_whole_and_a_silent_client_holds_nobody_up,
}

/// A conversation over the interface's socket.
struct Dialogue(BufReader<UnixStream>);

impl Dialogue {
    fn begin(rig: &Rig, device: &str) -> Self {
        let stream = UnixStream::connect(rig.bench.socket(device)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
        Self(BufReader::new(stream))
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("sent");
    }

    /// The lines of the next answer, without the empty one at its end.
    fn answer(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).expect("an answer"), 0, "the conversation ended after {lines:?}");
            match line.trim_end() {
                "" => return lines,
                line => lines.push(line.to_owned()),
            }
        }
    }

    fn ask(&mut self, request: &str) -> Vec<String> {
        self.say(request);
        self.answer()
    }

    /// The number after `errno=`.
    fn errno(&mut self, request: &str) -> i64 {
        errno(&self.ask(request))
    }
}

fn errno(answer: &[String]) -> i64 {
    let last = answer.last().and_then(|line| line.strip_prefix("errno="));
    last.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no errno in {answer:?}"))
}

/// The values that an answer has for a key, in order.
fn values<'a>(answer: &'a [String], key: &str) -> Vec<&'a str> {
    answer.iter().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// A private key, and the public one to it.
fn keys() -> (String, String) {
    let key = PrivateKey::generate().expect("a key");
    (hex::encode(key.octets()), hex::encode(key.public().octets()))
}

fn get_tells_everything_that_set_took(rig: &Rig) {
    let at = Namespace::new("alone").expect("a namespace");
    let _node = rig.node(&at, "wg0");
    let ((own, _), (_, one), (_, two), (secret, _)) = (keys(), keys(), keys(), keys());
    let mut dialogue = Dialogue::begin(rig, "wg0");
    let request = format!(
        "set=1\nprivate_key={own}\nlisten_port=40001\nfwmark=7\nreplace_peers=true\npublic_key={one}\n\
         preshared_key={secret}\nendpoint=192.0.2.7:5\npersistent_keepalive_interval=25\nreplace_allowed_ips=true\n\
         allowed_ip=10.1.0.0/16\nallowed_ip=fd01::/64\npublic_key={two}\nendpoint=[2001:db8::7]:6\n\n"
    );
    assert_eq!(dialogue.errno(&request), 0);
    let answer = Dialogue::begin(rig, "wg0").ask("get=1\n\n");
    for (key, expected) in [("private_key", own.as_str()), ("listen_port", "40001"), ("fwmark", "7"), ("errno", "0")] {
        assert_eq!(values(&answer, key), [expected], "{key} of {answer:?}");
    }
    let at = answer.iter().position(|line| *line == format!("public_key={one}")).expect("the first peer");
    let end =
        answer[at + 1..].iter().position(|line| line.starts_with("public_key=")).map_or(answer.len(), |n| at + 1 + n);
    let peer = &answer[at..end];
    for (key, expected) in [
        ("preshared_key", vec![secret.as_str()]),
        ("endpoint", vec!["192.0.2.7:5"]),
        ("persistent_keepalive_interval", vec!["25"]),
        ("rx_bytes", vec!["0"]),
        ("last_handshake_time_sec", vec!["0"]),
        ("last_handshake_time_nsec", vec!["0"]),
        ("protocol_version", vec!["1"]),
    ] {
        assert_eq!(values(peer, key), expected, "{key} of {peer:?}");
    }
    // It may have begun a handshake by itself.
    assert!(values(peer, "tx_bytes")[0].parse::<u64>().is_ok_and(|octets| octets % 148 == 0), "{peer:?}");
    let mut prefixes = values(peer, "allowed_ip");
    prefixes.sort_unstable();
    assert_eq!(prefixes, ["10.1.0.0/16", "fd01::/64"]);
    assert!(answer.contains(&"endpoint=[2001:db8::7]:6".to_owned()), "{answer:?}");
}

fn one_connection_serves_many_requests(rig: &Rig) {
    let at = Namespace::new("alone").expect("a namespace");
    let _node = rig.node(&at, "wg0");
    let mut dialogue = Dialogue::begin(rig, "wg0");
    for port in ["40001", "40002", "40003"] {
        assert_eq!(dialogue.errno(&format!("set=1\nlisten_port={port}\n\n")), 0);
        assert_eq!(values(&dialogue.ask("get=1\n\n"), "listen_port"), [port]);
    }
}

fn requests_that_come_together_are_each_answered(rig: &Rig) {
    let at = Namespace::new("alone").expect("a namespace");
    let _node = rig.node(&at, "wg0");
    let mut dialogue = Dialogue::begin(rig, "wg0");
    dialogue.say("set=1\nlisten_port=40004\n\nget=1\n\nget=1\n\n");
    assert_eq!(errno(&dialogue.answer()), 0);
    for _ in 0..2 {
        assert_eq!(values(&dialogue.answer(), "listen_port"), ["40004"]);
    }
}

fn a_refused_request_tells_its_errno_and_leaves_the_peers_alone(rig: &Rig) {
    let at = Namespace::new("alone").expect("a namespace");
    let _node = rig.node(&at, "wg0");
    let (_, peer) = keys();
    let good = format!("set=1\npublic_key={peer}\nallowed_ip=10.1.0.0/16\n\n");
    assert_eq!(Dialogue::begin(rig, "wg0").errno(&good), 0);
    for bad in [
        "private_key=xyz".to_owned(),
        format!("private_key={}", &peer[1..]),
        "listen_port=65536".to_owned(),
        "listen_port=-1".to_owned(),
        "no_such_key=1".to_owned(),
        "replace_peers=false".to_owned(),
        format!("public_key={peer}\nallowed_ip=10.0.0.0/33"),
        format!("public_key={peer}\nallowed_ip=10.0.0"),
        format!("public_key={peer}\nendpoint=nowhere"),
        format!("public_key={peer}\npersistent_keepalive_interval=65536"),
        format!("public_key={peer}\nprotocol_version=2"),
        "public_key=00".to_owned(),
    ] {
        assert_ne!(Dialogue::begin(rig, "wg0").errno(&format!("set=1\n{bad}\n\n")), 0, "{bad}");
    }
    let answer = Dialogue::begin(rig, "wg0").ask("get=1\n\n");
    assert_eq!(values(&answer, "public_key"), [peer.as_str()]);
    assert_eq!(values(&answer, "allowed_ip"), ["10.1.0.0/16"]);
}

fn update_only_makes_no_peer_and_remove_unmakes_one(rig: &Rig) {
    let at = Namespace::new("alone").expect("a namespace");
    let _node = rig.node(&at, "wg0");
    let ((_, one), (_, two)) = (keys(), keys());
    let ask = |request: &str| {
        assert_eq!(Dialogue::begin(rig, "wg0").errno(request), 0, "{request}");
        let answer = Dialogue::begin(rig, "wg0").ask("get=1\n\n");
        let peers: Vec<String> = values(&answer, "public_key").into_iter().map(str::to_owned).collect();
        (peers, values(&answer, "allowed_ip").join(","))
    };
    let update = format!("set=1\npublic_key={one}\nupdate_only=true\nallowed_ip=10.1.0.0/16\n\n");
    assert_eq!(ask(&update), (vec![], String::new()), "nobody to update");
    let (peers, _) = ask(&format!("set=1\npublic_key={one}\npublic_key={two}\n\n"));
    assert_eq!(peers.len(), 2);
    assert_eq!(ask(&update).1, "10.1.0.0/16", "somebody to update");
    assert_eq!(ask(&format!("set=1\npublic_key={one}\nremove=true\n\n")), (vec![two.clone()], String::new()));
    assert_eq!(ask(&format!("set=1\npublic_key={one}\nremove=true\n\n")).0, [two.as_str()], "again is no error");
    assert_eq!(ask(&format!("set=1\nreplace_peers=true\npublic_key={one}\n\n")).0, [one.as_str()]);
}

fn requests_in_pieces_are_whole_and_a_silent_client_holds_nobody_up(rig: &Rig) {
    let at = Namespace::new("alone").expect("a namespace");
    let _node = rig.node(&at, "wg0");
    let _silent = Dialogue::begin(rig, "wg0");
    let mut halfway = Dialogue::begin(rig, "wg0");
    halfway.say("set=1\nlisten_po");
    let mut slow = Dialogue::begin(rig, "wg0");
    for letter in "set=1\nlisten_port=40005\n\n".chars() {
        slow.say(&letter.to_string());
        std::thread::park_timeout(Duration::from_millis(2));
    }
    assert_eq!(errno(&slow.answer()), 0);
    assert_eq!(values(&Dialogue::begin(rig, "wg0").ask("get=1\n\n"), "listen_port"), ["40005"]);
    halfway.say("rt=40006\n\n");
    assert_eq!(errno(&halfway.answer()), 0);
    assert_eq!(values(&slow.ask("get=1\n\n"), "listen_port"), ["40006"]);
}
