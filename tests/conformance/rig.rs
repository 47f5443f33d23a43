//! What a scenario stands on: a subject, and a bench on which its interfaces are made.

use crate::bench::{Bench, Node, Wire, introduce};
use crate::subject::Subject;

use turnpike::lab::guard::Namespace;

/// One subject on a bench of its own.
pub struct Rig {
    /// Who is tried.
    pub subject: Subject,
    /// Where.
    pub bench: Bench,
}

impl Rig {
    /// An empty bench.
    pub fn new(subject: Subject) -> Self {
        Self { subject, bench: Bench::new() }
    }

    /// Starts an interface with a key of its own, without addresses and peers.
    pub fn node<'a>(&'a self, at: &'a Namespace, device: &'static str) -> Node<'a> {
        let words = self.subject.words(device);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Node::start(&self.bench, at, device, &words)
    }

    /// Two interfaces of the subject that know each other over `outer`, the right one's address; the left one must
    /// begin.
    pub fn pair<'a>(&'a self, wire: &'a Wire, outer: &str) -> [Node<'a>; 2] {
        let (left, right) = (self.node(&wire.left, "wgl"), self.node(&wire.right, "wgr"));
        introduce(&left, &right, outer.parse().expect("an address"));
        [left, right]
    }
}

/// Octets received from and sent to the node's one peer, as `wg show transfer` counts.
pub fn transfer(node: &Node<'_>) -> (u64, u64) {
    let table = node.wg("show", "transfer").expect("counters");
    let mut numbers = table.split_ascii_whitespace().skip(1).map(|text| text.parse().expect("a number"));
    (numbers.next().expect("received"), numbers.next().expect("sent"))
}
