//! `lab.toml`: what stands around the gateways, which the definition says nothing about.
//!
//! Core switches, legacy hosts with their servers, and the gateways' addresses on the WAN. Checked against the
//! definition's model when read, so that whoever holds [`Surroundings`] need not look again.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use crate::identity::{Name, Qualified};
use crate::net::{Family, Interface};
use crate::policy::model::{Department, Model};

/// The checked contents of `lab.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Each gateway's address on the WAN.
    pub wan: BTreeMap<Name, Interface>,
    /// Core switches.
    pub switches: Vec<Switch>,
    /// Legacy hosts, at least one per department.
    pub hosts: Vec<HostPlan>,
}

/// A core switch that routes between a gateway's segment and a department's network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Its name.
    pub name: Name,
    /// The department behind it.
    pub department: Qualified,
    /// Its addresses on the department's side.
    pub addresses: Vec<Interface>,
}

/// A legacy host: an address, a default gateway and servers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPlan {
    /// Its name.
    pub name: Name,
    /// Its department.
    pub department: Qualified,
    /// Its addresses, at most one per family.
    pub addresses: Vec<Interface>,
    /// What runs on it.
    #[serde(default)]
    pub servers: Vec<Server>,
}

/// A server from Debian that stands for a legacy system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    /// nginx on ports 80 and 443.
    Web,
    /// OpenSMTPD on port 25.
    Mail,
    /// vsftpd on port 21, passive data ports as the service that names the host grants them.
    Ftp,
    /// iperf3 on port 5201.
    Iperf,
    /// A login prompt on port 23, by socat.
    Telnet,
}

/// Why `lab.toml` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SurroundingsError {
    /// Not TOML, or not of this form; the text names line and column.
    #[error("{0}")]
    Malformed(String),
    /// A gateway has no address on the WAN.
    #[error("gateway {0} has no address in [wan] addresses")]
    NoWanAddress(Name),
    /// An address on the WAN is given to something that is no gateway.
    #[error("[wan] addresses name {0}, which is neither edge nor hub of the definition")]
    UnknownGateway(Name),
    /// A host or switch names a department that does not exist.
    #[error("{name} names department {department}, which the definition does not have")]
    UnknownDepartment {
        /// The host or switch.
        name: Name,
        /// The department.
        department: Qualified,
    },
    /// A host's or switch's address lies outside its department.
    #[error("{name} has address {address}, outside the real prefixes of {department}")]
    Outside {
        /// The host or switch.
        name: Name,
        /// The department.
        department: Qualified,
        /// The address.
        address: IpAddr,
    },
    /// A department behind a core switch has none in `lab.toml`, or the other way round.
    #[error("department {0} needs a [[switch]] if, and only if, the definition gives it a 'via'")]
    SwitchMismatch(Qualified),
    /// A department without a host cannot be tried.
    #[error("department {0} has no [[host]]")]
    NoHost(Qualified),
    /// Two hosts or switches, or a host and a gateway, have the same name.
    #[error("the name {0} is used twice")]
    Twice(Name),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    wan: Wan,
    #[serde(default)]
    switch: Vec<Switch>,
    host: Vec<HostPlan>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wan {
    addresses: BTreeMap<String, Interface>,
}

impl Surroundings {
    /// Reads `lab.toml` and checks it against the definition.
    ///
    /// # Errors
    /// Every [`SurroundingsError`].
    pub fn parse(text: &str, model: &Model) -> Result<Self, SurroundingsError> {
        let malformed = |error: &dyn std::fmt::Display| SurroundingsError::Malformed(error.to_string());
        let document: Document = toml::from_str(text).map_err(|error| malformed(&error))?;
        let mut wan = BTreeMap::new();
        for (name, address) in document.wan.addresses {
            wan.insert(name.parse::<Name>().map_err(|error| malformed(&error))?, address);
        }
        let surroundings = Self { wan, switches: document.switch, hosts: document.host };
        surroundings.check_gateways(model)?;
        surroundings.check_departments(model)?;
        Ok(surroundings)
    }

    fn check_gateways(&self, model: &Model) -> Result<(), SurroundingsError> {
        let gateways = || model.hubs.iter().map(|hub| &hub.name).chain(model.edges.iter().map(|edge| &edge.name));
        if let Some(missing) = gateways().find(|name| !self.wan.contains_key(name)) {
            return Err(SurroundingsError::NoWanAddress(missing.clone()));
        }
        if let Some(unknown) = self.wan.keys().find(|name| gateways().all(|known| known != *name)) {
            return Err(SurroundingsError::UnknownGateway(unknown.clone()));
        }
        let mut names: Vec<&Name> = gateways().collect();
        names.extend(self.switches.iter().map(|switch| &switch.name).chain(self.hosts.iter().map(|host| &host.name)));
        names.sort();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(SurroundingsError::Twice(pair[0].clone())),
            None => Ok(()),
        }
    }

    fn check_departments(&self, model: &Model) -> Result<(), SurroundingsError> {
        let hosts = self.hosts.iter().map(|host| (&host.name, &host.department, &host.addresses));
        let switches = self.switches.iter().map(|switch| (&switch.name, &switch.department, &switch.addresses));
        for (name, department, addresses) in hosts.chain(switches) {
            let Some(known) = model.departments.iter().find(|known| known.name == *department) else {
                return Err(SurroundingsError::UnknownDepartment {
                    name: name.clone(),
                    department: department.clone(),
                });
            };
            let inside = |address: IpAddr| known.mappings.iter().any(|mapping| mapping.real.contains(address));
            if let Some(outside) = addresses.iter().map(|interface| interface.address()).find(|a| !inside(*a)) {
                let (name, department) = (name.clone(), department.clone());
                return Err(SurroundingsError::Outside { name, department, address: outside });
            }
        }
        for department in &model.departments {
            if self.switch_of(department).is_some() == department.via.is_empty() {
                return Err(SurroundingsError::SwitchMismatch(department.name.clone()));
            }
            if self.hosts.iter().all(|host| host.department != department.name) {
                return Err(SurroundingsError::NoHost(department.name.clone()));
            }
        }
        Ok(())
    }

    /// The core switch in front of a department.
    pub fn switch_of(&self, department: &Department) -> Option<&Switch> {
        self.switches.iter().find(|switch| switch.department == department.name)
    }
}

impl HostPlan {
    /// Its address in a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().map(|interface| interface.address()).find(|address| Family::of(*address) == family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::sample::example;

    const LAB: &str = include_str!("../../examples/three-councils/lab.toml");

    fn model() -> Model {
        example().model
    }

    fn refused(from: &str, to: &str) -> Option<SurroundingsError> {
        assert!(LAB.contains(from), "{from}");
        Surroundings::parse(&LAB.replacen(from, to, 1), &model()).err()
    }

    #[test]
    fn the_example_is_read() {
        let surroundings = Surroundings::parse(LAB, &model()).expect("the example");
        assert_eq!((surroundings.wan.len(), surroundings.switches.len(), surroundings.hosts.len()), (4, 1, 7));
    }

    #[test]
    fn each_fault_is_told_from_the_others() {
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let department = |text: &str| text.parse::<Qualified>().expect("a department");
        use SurroundingsError::*;
        assert!(matches!(refused("servers = [\"mail\"]", "servers = [\"post\"]"), Some(Malformed(_))));
        assert!(matches!(refused("[[switch]]", "[[swich]]"), Some(Malformed(_))));
        assert_eq!(refused("leeds-1 = \"192.0.2.11/24\", ", ""), Some(NoWanAddress(name("leeds-1"))));
        assert_eq!(refused("hub-a = ", "hub-b = \"192.0.2.9/24\", hub-a = "), Some(UnknownGateway(name("hub-b"))));
        assert_eq!(
            refused("department = \"leeds/housing\"", "department = \"leeds/parks\""),
            Some(UnknownDepartment { name: name("housing"), department: department("leeds/parks") })
        );
        assert_eq!(
            refused("10.20.0.20/24", "10.21.0.20/24"),
            Some(Outside {
                name: name("housing"),
                department: department("leeds/housing"),
                address: [10, 21, 0, 20].into()
            })
        );
        assert_eq!(refused("name = \"care\"", "name = \"post\""), Some(Twice(name("post"))));
        let moved = refused(
            "department = \"wakefield/treasury\"\naddresses = [\"10.41.0.1/24\"]",
            "department = \"leeds/housing\"\naddresses = [\"10.20.0.2/24\"]",
        );
        assert_eq!(moved, Some(SwitchMismatch(department("leeds/housing"))));
    }

    #[test]
    fn a_department_without_a_host_cannot_be_tried() {
        let at = LAB.find("[[host]]\nname = \"housing\"").expect("housing");
        let without = format!("{}{}", &LAB[..at], LAB[at..].split_once("\n\n").expect("the next").1);
        let housing = "leeds/housing".parse().expect("a department");
        assert_eq!(Surroundings::parse(&without, &model()).err(), Some(SurroundingsError::NoHost(housing)));
    }
}
