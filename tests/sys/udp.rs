//! UDP sockets on a wire with an MTU.

use turnpike::lab::guard::{Namespace, skip, veth};
use turnpike::net::Family;
use turnpike::sys::udp::{Outgoing, SendError, Sender, UdpSocket};

use crate::wire::gather;

#[test]
fn a_run_longer_than_the_path_takes_is_refused_and_passes_one_by_one() {
    if skip("a_run_longer_than_the_path_takes_is_refused_and_passes_one_by_one") {
        return;
    }
    let (left, right) = (Namespace::new("left").expect("root"), Namespace::new("right").expect("root"));
    veth(&left, "eth0", &right, "eth0").expect("a wire");
    for (namespace, number) in [(&left, 1), (&right, 2)] {
        namespace.address("eth0", &format!("192.0.2.{number}/24")).expect("an address");
        namespace.address("eth0", &format!("2001:db8::{number}/64")).expect("an address");
    }
    // Behind a router, as it were, with a smaller MTU that the kernel knows.
    left.route("198.51.100.0/24", "via 192.0.2.2 mtu 1400").expect("a route");
    right.ip("address add 198.51.100.1/32 dev lo").expect("an address");
    let bind = || UdpSocket::bind(0, None, 0).expect("a port");
    let (here, there) = (left.enter(bind).expect("the namespace"), right.enter(bind).expect("the namespace"));
    let mut sender = Sender::default();
    for (to, longest) in [("192.0.2.2", 1472), ("2001:db8::2", 1452), ("198.51.100.1", 1372)] {
        let to = std::net::SocketAddr::new(to.parse().expect("an address"), there.port());
        let run = |length: u16| (vec![7; 10 * usize::from(length)], length);
        let (fits, too_long) = (run(longest), run(longest + 1));
        let outgoing = |octets, segment| Outgoing { octets, segment, to, source: None, tos: 0 };
        assert_eq!(here.send(&mut sender, [outgoing(&fits.0, Some(fits.1))]), Ok(1));
        assert!(gather(&there, Family::of(to.ip()), fits.0.len()).concat() == fits.0, "{to}");
        let refused = here.send(&mut sender, [outgoing(&too_long.0, Some(too_long.1))]);
        assert!(matches!(refused, Err(SendError::Refused(_))), "{refused:?}");
        let single = too_long.0.chunks(too_long.1.into()).map(|octets| outgoing(octets, None));
        assert_eq!(here.send(&mut sender, single), Ok(10));
        assert!(gather(&there, Family::of(to.ip()), too_long.0.len()).concat() == too_long.0, "{to}");
    }
}
