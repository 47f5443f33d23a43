//! What must be true before the kernel is touched, so that a refusal leaves nothing half applied.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::error::GatewayError;
use super::planner;
use super::routing;
use crate::bundle::{Bundle, Policy, Uplink};
use crate::net::Family;
use crate::ruleset::segment_device;
use crate::sys::host;
use crate::sys::netlink::{Device, Netlink};
use crate::sys::nftables::Nft;
use crate::telemetry::conditions::Condition;

/// What this host must have and allow, whatever the bundle says.
///
/// # Errors
/// [`GatewayError::NoNetAdmin`], [`GatewayError::NoNft`], [`GatewayError::NoTun`], [`GatewayError::DeviceExists`].
pub async fn host(netlink: &Netlink, tunnel: &str) -> Result<(), GatewayError> {
    if !host::has_net_admin() {
        return Err(GatewayError::NoNetAdmin);
    }
    if host::find_program("nft").is_none() {
        return Err(GatewayError::NoNft);
    }
    let tun = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    tun.map_err(|error| GatewayError::NoTun(error.to_string()))?;
    if netlink.devices().await?.contains_key(tunnel) {
        return Err(GatewayError::DeviceExists(tunnel.to_owned()));
    }
    Ok(())
}

/// What the bundle needs: its devices, and its UDP ports but for those that are `held` already.
///
/// # Errors
/// [`GatewayError::NoDevice`] and [`GatewayError::PortInUse`].
pub async fn bundle(
    netlink: &Netlink,
    bundle: &Bundle,
    policy: &Policy,
    held: &BTreeSet<u16>,
) -> Result<(), GatewayError> {
    let devices = netlink.devices().await?;
    for uplink in &bundle.membership.uplinks {
        uplink_device(uplink, &devices)?;
    }
    for (department, segment) in routing::local(policy) {
        let device = segment_device(segment);
        if !devices.contains_key(&device) {
            return Err(GatewayError::NoDevice { device, of: format!("department {}", department.name) });
        }
    }
    let ports = bundle.membership.uplinks.iter().map(planner::port).filter(|port| *port != 0 && !held.contains(port));
    ports.collect::<BTreeSet<_>>().into_iter().try_for_each(free)
}

fn uplink_device(uplink: &Uplink, devices: &BTreeMap<String, Device>) -> Result<(), GatewayError> {
    match &uplink.device {
        Some(device) if !devices.contains_key(device) => {
            Err(GatewayError::NoDevice { device: device.clone(), of: format!("uplink {}", uplink.name) })
        }
        Some(_) | None => Ok(()),
    }
}

/// Asks without SO_REUSEPORT, so that another gateway's shared port counts as taken.
fn free(port: u16) -> Result<(), GatewayError> {
    let addresses = [SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))];
    for address in addresses {
        match UdpSocket::bind(address) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                return Err(GatewayError::PortInUse { protocol: "UDP", address, of: " (WireGuard)".into() });
            }
            // No such family here: then nobody uses its port either.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// Why this kernel cannot tell of flows, if it cannot: no reason to carry no traffic.
pub async fn mute() -> Option<String> {
    tokio::task::spawn_blocking(|| Nft::new().mute()).await.unwrap_or_default()
}

/// The address families that this kernel has.
pub fn families() -> Vec<Family> {
    match std::fs::exists("/proc/net/if_inet6") {
        Ok(true) => vec![Family::V4, Family::V6],
        Ok(false) | Err(_) => vec![Family::V4],
    }
}

/// Sysctls with which traffic or protection fails. They are the host's: the early unit or the image sets them.
pub fn sysctls(policy: &Policy, tunnel: &str) -> Vec<Condition> {
    let mut wrong = Vec::new();
    let mut expect = |name: String, wanted: &'static str, fine: &dyn Fn(&str) -> bool| {
        if let Some(found) = host::sysctl(&name).filter(|found| !fine(found)) {
            wrong.push(Condition::WrongSysctl { name, found, wanted });
        }
    };
    let has = |family: Family| policy.overlay.iter().any(|prefix| prefix.family() == family);
    if has(Family::V4) {
        expect("net.ipv4.ip_forward".into(), "1", &|found| found == "1");
    }
    if has(Family::V6) {
        expect("net.ipv6.conf.all.forwarding".into(), "1", &|found| found == "1");
    }
    // With strict or loose reverse-path filtering, the way back is looked up with the mark only if
    // src_valid_mark says so (ip-sysctl.rst); the greater of `all` and the device counts.
    let filter = |device: &str| {
        host::sysctl(&format!("net.ipv4.conf.{}.rp_filter", device.replace('.', "/"))).unwrap_or_default()
    };
    let filtered = |device: &str| filter("all").max(filter(device)) != "0";
    let segments = routing::local(policy).map(|(_, segment)| segment_device(segment));
    if segments.chain([tunnel.to_owned()]).any(|device| filtered(&device)) {
        let valid = host::sysctl("net.ipv4.conf.all.src_valid_mark").is_some_and(|value| value == "1");
        if !valid {
            expect("net.ipv4.conf.all.src_valid_mark".into(), "1", &|found| found == "1");
        }
    }
    wrong
}
