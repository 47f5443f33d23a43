//! What the kernel makes of our rules: real packets in network namespaces of their own.

mod asked;
mod cost;
mod edge;
mod hub;
mod load;
mod local;
#[expect(dead_code, reason = "shared with the comparison in tests/policy")]
mod packet;
mod place;
#[expect(dead_code, reason = "shared with the comparison in tests/policy")]
mod router;

use packet::Ends;
use router::Router;

/// Sends a datagram in fragments from one device to another: what arrives is the whole of it, in fragments again.
#[track_caller]
fn fragmented(router: &Router, (from, to): (&str, &str), datagram: &[u8], arrives_as: Ends) {
    let pieces = packet::fragments(datagram, 1200, 77);
    let (last, first) = pieces.split_last().expect("fragments");
    first.iter().for_each(|piece| router.blocks(from, to, piece));
    let seen = router.through(from, to, last);
    assert_eq!(seen.len(), pieces.len(), "{seen:?}");
    let v6 = datagram[0] >> 4 == 6;
    let arrived: Vec<u8> = seen.iter().flat_map(|seen| seen.rest[if v6 { 8 } else { 0 }..].to_vec()).collect();
    let sent = &datagram[if v6 { 40 } else { 20 }..];
    assert!(seen.iter().all(|seen| seen.ends == arrives_as), "{seen:?}");
    // The checksum (octets 6 and 7) changes with the addresses.
    assert_eq!((&arrived[..6], &arrived[8..]), (&sent[..6], &sent[8..]));
}
