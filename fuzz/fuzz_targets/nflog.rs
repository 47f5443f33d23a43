//! Any octets as a netlink datagram of nflog → records → flows named by a policy → events as one line of JSON that
//! reads back as the same event, and as fields of the journal.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use turnpike::event::{Directory, Event, Flow, Gatherer, Hook, Packet, WINDOW};
use turnpike::ruleset::Cause;
use turnpike::sys::nflog;

const POLICY: &str = r#"{"network":"connect","gateway":"leeds-1","site":"leeds","role":"edge",
    "overlay":["100.64.0.0/10"],"management":"100.127.0.0/16","address":"100.127.0.2","allotted":[],
    "departments":[{"number":1,"name":"leeds/a","site":"leeds","overlay":["127.0.0.0/24"],
        "segment":{"device":"7","gateway":[],"mappings":[{"real":"192.168.1.0/24","overlay":"127.0.0.0/24"}]}}],
    "services":[{"number":1,"name":"leeds/s","department":1,"hosts":["127.0.0.1"],"ports":["any"]}],
    "agreements":[{"number":7,"id":"A-7","service":1,"from":[1],"class":"routine","lease_seconds":60}],
    "rules":[{"department":1,"destination":"127.0.0.1","match":"any","agreement":7}],
    "guardrails":[{"id":"G-1","from":[],"to":{"prefixes":[],"ports":[]}}],"routes":[]}"#;

fn device(index: u32) -> Option<String> {
    // Whatever a device could be called.
    (index != 0).then(|| char::from_u32(index).map_or_else(|| index.to_string(), String::from))
}

fuzz_target!(|datagram: &[u8]| {
    let policy = serde_json::from_str(POLICY).expect("a policy");
    let directory = Directory::new(&policy, 1, "lo");
    let mut gatherer = Gatherer::new();
    let mut packets = 0;
    for record in nflog::records(datagram) {
        let (Some(hook), Some(packet)) = (Hook::numbered(record.hook), Packet::read(&record.octets)) else { continue };
        let cause = Cause::of_prefix(&record.prefix).unwrap_or(Cause::Opened);
        let flow = Flow {
            cause,
            hook,
            mark: record.mark,
            input: device(record.input),
            output: device(record.output),
            source: packet.source,
            destination: packet.destination,
            protocol: packet.protocol.0,
            aim: packet.aim,
        };
        let describe = |flow: &Flow| directory.describe(flow, Timestamp::UNIX_EPOCH);
        gatherer.record(flow, packet.source_port, packet.length, Timestamp::UNIX_EPOCH, describe);
        packets += 1;
    }
    let flushed = gatherer.flush(WINDOW, Timestamp::UNIX_EPOCH, |cause| directory.blank(cause, Timestamp::UNIX_EPOCH));
    assert_eq!(flushed.events.iter().map(|event| event.packets + event.suppressed).sum::<u64>(), packets);
    for event in flushed.events {
        let line = event.to_json_line().expect("a line");
        let (end, body) = line.split_last().expect("not empty");
        assert!(*end == b'\n' && body.iter().all(|octet| (b' '..=b'~').contains(octet)));
        assert_eq!(serde_json::from_slice::<Event>(body).expect("an event"), event);
        let journal = event.to_journal().expect("fields");
        assert!(journal.split(|octet| *octet == b'\n').all(|line| line.is_empty() || line.contains(&b'=')));
    }
});
