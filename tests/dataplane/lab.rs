//! Two namespaces joined by a wire, a data plane in each.
//!
//! ```text
//!  left                                             right
//!  tp0 10.50.0.1, fd50::1   ═══ tunnel ═══   tp0 10.50.0.2, fd50::2
//!  eth0 192.0.2.1, 2001:db8::1 ── wire ── eth0 192.0.2.2, 2001:db8::2
//! ```

use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

use turnpike::dataplane::{
    Dataplane, Endpoint, LinkId, LinkPlan, LinkSnapshot, Options, Plan, SiteId, SitePlan, Snapshot, SocketId,
    SocketPlan,
};
use turnpike::identity::PrivateKey;
use turnpike::lab::guard::{Namespace, veth, wait_until};
use turnpike::net::Prefix;
use turnpike::sys::tun::Tun;
use turnpike::tunnel::Marking;

/// The one socket and link of each side.
pub const SOCKET: SocketId = SocketId(1);
pub const LINK: LinkId = LinkId(1);
pub const SITE: SiteId = SiteId(1);
/// Long enough for a handshake and a retry.
pub const SOON: Duration = Duration::from_secs(15);

/// One side.
pub struct Side {
    pub plane: Dataplane,
    pub plan: Plan,
    pub namespace: Namespace,
}

/// Both sides, configured and not yet in touch.
pub struct Pair {
    pub left: Side,
    pub right: Side,
}

pub fn prefix(text: &str) -> Prefix {
    text.parse().expect("a prefix")
}

pub fn endpoint(address: &str) -> Option<Endpoint> {
    Some(Endpoint { address: address.parse::<SocketAddr>().expect("an address"), revision: 0 })
}

/// A plan with one socket, one site and one link on port 51820.
pub fn plan(own: &PrivateKey, peer: &PrivateKey, to: Option<Endpoint>, owned: &[&str]) -> Plan {
    let link = LinkPlan {
        id: LINK,
        socket: SOCKET,
        key: peer.public(),
        preshared: None,
        endpoint: to,
        keepalive: None,
        warm: false,
        marking: Marking::default(),
        mtu: None,
    };
    Plan {
        sockets: vec![SocketPlan { id: SOCKET, key: Some(own.clone()), port: 51820, device: None }],
        sites: vec![SitePlan { id: SITE, links: vec![LINK], also_from: vec![] }],
        links: vec![link],
        routes: owned.iter().map(|text| (prefix(text), SITE)).collect(),
        mark: 0,
    }
}

pub fn start(namespace: &Namespace, addresses: &[&str]) -> Dataplane {
    start_with(namespace, addresses, Options::default())
}

/// With so many workers as `TURNPIKE_WORKERS` says, unless a test chooses their number itself.
pub fn start_with(namespace: &Namespace, addresses: &[&str], options: Options) -> Dataplane {
    let asked = std::env::var("TURNPIKE_WORKERS").ok().and_then(|number| number.parse().ok());
    let workers = if options.workers == 0 { asked.unwrap_or(0) } else { options.workers };
    let options = Options { workers, ..options };
    let start = || {
        let tun = Tun::create("tp0").expect("a TUN device");
        tun.set_mtu(options.mtu).expect("an MTU");
        Dataplane::start(tun, options).expect("a data plane")
    };
    let plane = namespace.enter(start).expect("the namespace");
    for address in addresses {
        namespace.address("tp0", address).expect("an address");
    }
    plane
}

impl Pair {
    /// Two sides that know each other's outer address `left` and `right` (with port, either family).
    pub fn new(left: &str, right: &str) -> Self {
        let pair = Self::apart(endpoint(left), endpoint(right));
        pair.left.apply();
        pair.right.apply();
        pair
    }

    /// Two sides with other options.
    pub fn with(options: Options, left: &str, right: &str) -> Self {
        let pair = Self::apart_with(options, endpoint(left), endpoint(right));
        pair.left.apply();
        pair.right.apply();
        pair
    }

    /// Two sides to which no plan was applied; each with the other's endpoint, if it shall know it.
    pub fn apart(left: Option<Endpoint>, right: Option<Endpoint>) -> Self {
        Self::apart_with(Options::default(), left, right)
    }

    fn apart_with(options: Options, left: Option<Endpoint>, right: Option<Endpoint>) -> Self {
        let keys = [PrivateKey::generate().expect("entropy"), PrivateKey::generate().expect("entropy")];
        let (here, there) = (Namespace::new("left").expect("root"), Namespace::new("right").expect("root"));
        veth(&here, "eth0", &there, "eth0").expect("a wire");
        for (namespace, number) in [(&here, 1), (&there, 2)] {
            namespace.address("eth0", &format!("192.0.2.{number}/24")).expect("an address");
            namespace.address("eth0", &format!("2001:db8::{number}/64")).expect("an address");
        }
        let left_plane = start_with(&here, &["10.50.0.1/24", "fd50::1/64"], options);
        let right_plane = start_with(&there, &["10.50.0.2/24", "fd50::2/64"], options);
        let left_plan = plan(&keys[0], &keys[1], right, &["10.50.0.2/32", "fd50::2/128"]);
        let right_plan = plan(&keys[1], &keys[0], left, &["10.50.0.1/32", "fd50::1/128"]);
        Self {
            left: Side { plane: left_plane, plan: left_plan, namespace: here },
            right: Side { plane: right_plane, plan: right_plan, namespace: there },
        }
    }
}

impl Side {
    /// Applies the plan as it stands in `plan`.
    pub fn apply(&self) {
        self.plane.apply(self.plan.clone()).expect("a good plan");
    }

    pub fn observe(&self) -> Snapshot {
        self.plane.observe().expect("a running data plane")
    }

    pub fn link(&self) -> LinkSnapshot {
        self.observe().links.into_iter().find(|link| link.id == LINK).expect("the link")
    }

    pub fn drops(&self, label: &str) -> u64 {
        self.observe().drops.iter().find(|(name, _)| *name == label).map(|(_, number)| *number).expect("a reason")
    }

    /// One echo of `size` octets of payload, within 2 s.
    pub fn ping_once(&self, to: &str, size: usize) -> bool {
        self.output("ping", &["-n", "-c", "1", "-W", "2", "-s", &size.to_string(), to]).status.success()
    }

    /// Whether an echo comes back soon.
    pub fn reaches(&self, to: &str) -> bool {
        wait_until(SOON, || self.ping_once(to, 56))
    }

    pub fn output(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = self.namespace.command(program);
        command.args(arguments).output().expect(program)
    }
}
