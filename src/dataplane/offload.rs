//! What the kernel takes off us by handling many packets at once, each with a switch of its own.
//!
//! | offload | what it saves | system interface |
//! |---|---|---|
//! | `tun_tso`, `tun_uso` | one read per 64 KiB of TCP or UDP instead of one per packet | `TUNSETOFFLOAD`; UDP since Linux 6.2 |
//! | `tun_tcp_gro`, `tun_udp_gro` | one write, one crossing of the ruleset per superpacket | `virtio_net_hdr` on write |
//! | `udp_gso` | one send per train of datagrams to one peer | `UDP_SEGMENT`, Linux 4.18 |
//! | `udp_gro` | one receive per train of datagrams of one peer | `UDP_GRO`, Linux 5.0 |
//!
//! What the kernel has is tried out, not guessed from its version; what it refuses later is done without from then on.

use std::fmt;
use std::str::FromStr;

use crate::sys::tun::{Segmentation, Tun};
use crate::sys::udp::supports_segmentation;

macro_rules! offloads {
    ($($(#[$doc:meta])* $variant:ident = $label:literal,)*) => {
        /// A way of handling many packets at once.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Offload { $($(#[$doc])* $variant,)* }

        impl Offload {
            /// Every offload, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in options, `status` and metrics.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

offloads! {
    /// TCP superpackets are read from the TUN device, and split here.
    TunTso = "tun_tso",
    /// UDP superpackets are read from the TUN device, and split here.
    TunUso = "tun_uso",
    /// TCP packets of one flow are written to the TUN device as one.
    TunTcpGro = "tun_tcp_gro",
    /// UDP packets of one flow are written to the TUN device as one.
    TunUdpGro = "tun_udp_gro",
    /// Trains of datagrams are sent in one piece.
    UdpGso = "udp_gso",
    /// Trains of datagrams are received in one piece.
    UdpGro = "udp_gro",
}

impl FromStr for Offload {
    type Err = UnknownOffload;

    fn from_str(name: &str) -> Result<Self, UnknownOffload> {
        Self::ALL.iter().copied().find(|offload| offload.label() == name).ok_or_else(|| UnknownOffload(name.to_owned()))
    }
}

/// There is no such offload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no offload '{0}'; there are: {names}, and all of them as 'all'", names = names())]
pub struct UnknownOffload(String);

fn names() -> String {
    Offload::ALL.iter().map(|offload| offload.label()).collect::<Vec<_>>().join(", ")
}

/// A set of offloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads(u8);

impl Offloads {
    /// All.
    pub const ALL: Self = Self(u8::MAX);
    /// None.
    pub const NONE: Self = Self(0);

    /// Without one.
    #[must_use]
    pub fn without(self, offload: Offload) -> Self {
        Self(self.0 & !bit(offload))
    }

    /// Without those that are named, separated by commas; `all` names each.
    ///
    /// # Errors
    /// [`UnknownOffload`]: the first word that is no name.
    pub fn without_named(self, names: &str) -> Result<Self, UnknownOffload> {
        names.split(',').map(str::trim).try_fold(self, |rest, name| match name {
            "all" => Ok(Self::NONE),
            name => name.parse().map(|offload| rest.without(offload)),
        })
    }

    /// What both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether it holds one.
    pub fn has(self, offload: Offload) -> bool {
        self.0 & bit(offload) != 0
    }
}

impl Default for Offloads {
    fn default() -> Self {
        Self::ALL
    }
}

fn bit(offload: Offload) -> u8 {
    1 << offload as u8
}

/// Whether an offload is in use, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OffloadState {
    /// In use.
    On,
    /// Switched off.
    Off,
    /// The kernel does not have it.
    Missing,
    /// The kernel refused it at run time.
    Refused,
}

impl OffloadState {
    /// The name in `status`.
    pub fn label(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Missing => "missing",
            Self::Refused => "refused",
        }
    }
}

/// What is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffloadStates([OffloadState; Offload::ALL.len()]);

impl OffloadStates {
    /// All that is wanted in use, until they are found missing.
    pub fn wanted(wanted: Offloads) -> Self {
        let mut states = Self([OffloadState::On; Offload::ALL.len()]);
        for offload in Offload::ALL.iter().copied().filter(|offload| !wanted.has(*offload)) {
            states.set(offload, OffloadState::Off);
        }
        states
    }

    /// Whether one is in use.
    pub fn is_on(&self, offload: Offload) -> bool {
        self.of(offload) == OffloadState::On
    }

    /// The state of one.
    pub fn of(&self, offload: Offload) -> OffloadState {
        self.0[offload as usize]
    }

    fn set(&mut self, offload: Offload, state: OffloadState) {
        self.0[offload as usize] = state;
    }

    /// One that is wanted is not there. Whether that is news.
    pub fn miss(&mut self, offload: Offload) -> bool {
        self.lose(offload, OffloadState::Missing)
    }

    /// One that was there is refused from now on. Whether that is news.
    pub fn refuse(&mut self, offload: Offload) -> bool {
        self.lose(offload, OffloadState::Refused)
    }

    fn lose(&mut self, offload: Offload, state: OffloadState) -> bool {
        let news = self.is_on(offload);
        if news {
            self.set(offload, state);
        }
        news
    }

    /// Every one with its state.
    pub fn iter(&self) -> impl Iterator<Item = (Offload, OffloadState)> + '_ {
        Offload::ALL.iter().map(|&offload| (offload, self.of(offload)))
    }
}

impl fmt::Display for OffloadStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> =
            self.iter().map(|(offload, state)| format!("{} {}", offload.label(), state.label())).collect();
        f.write_str(&words.join(", "))
    }
}

/// Finds out what the kernel has of what is wanted.
pub(super) fn detect(tun: &Tun, wanted: Offloads) -> OffloadStates {
    let mut states = OffloadStates::wanted(wanted);
    let wanted = Segmentation { tcp: states.is_on(Offload::TunTso), udp: states.is_on(Offload::TunUso) };
    let had = tun.set_segmentation(wanted);
    if !had.tcp {
        states.miss(Offload::TunTso);
    }
    if !had.udp {
        states.miss(Offload::TunUso);
    }
    if !tun.has_headers() {
        states.miss(Offload::TunTcpGro);
        states.miss(Offload::TunUdpGro);
    }
    if !supports_segmentation() {
        states.miss(Offload::UdpGso);
    }
    states
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_offload_has_a_switch_of_its_own_under_its_name() {
        for &one in Offload::ALL {
            assert_eq!(one.label().parse(), Ok(one));
            let states = OffloadStates::wanted(Offloads::ALL.without(one));
            for (offload, state) in states.iter() {
                assert_eq!(state, if offload == one { OffloadState::Off } else { OffloadState::On });
            }
        }
        let error = "tso".parse::<Offload>().expect_err("no such name").to_string();
        assert!(error.contains("tun_tso") && error.contains("udp_gro"), "{error}");
    }

    #[test]
    fn what_is_switched_off_is_not_missing() {
        let mut states = OffloadStates::wanted(Offloads::NONE);
        assert!(!states.miss(Offload::UdpGso) && !states.refuse(Offload::UdpGso));
        assert_eq!(states.of(Offload::UdpGso), OffloadState::Off);
        let mut states = OffloadStates::wanted(Offloads::ALL);
        assert!(states.miss(Offload::UdpGso) && !states.miss(Offload::UdpGso), "it is news once");
        assert_eq!(states.of(Offload::UdpGso), OffloadState::Missing);
        assert!(states.refuse(Offload::TunUdpGro) && !states.refuse(Offload::TunUdpGro));
        assert_eq!(
            states.to_string(),
            "tun_tso on, tun_uso on, tun_tcp_gro on, tun_udp_gro refused, udp_gso missing, udp_gro on"
        );
    }

    #[test]
    fn several_are_named_in_one_list() {
        let named = |names| Offloads::ALL.without_named(names);
        let both = Offloads::ALL.without(Offload::UdpGso).without(Offload::TunUso);
        assert_eq!(named("udp_gso, tun_uso"), Ok(both));
        assert_eq!(named("udp_gso").and_then(|rest| rest.without_named("tun_uso")), Ok(both));
        assert_eq!(named("udp_gso").map(|rest| rest.and(Offloads::ALL.without(Offload::TunUso))), Ok(both));
        assert_eq!(named("all"), Ok(Offloads::NONE));
        for (names, wrong) in [("udp_gso,gso", "'gso'"), ("", "''"), ("all,", "''"), ("ALL", "'ALL'")] {
            let error = named(names).expect_err(names).to_string();
            assert!(error.contains(wrong) && error.contains("tun_tso") && error.contains("'all'"), "{error}");
        }
    }
}
