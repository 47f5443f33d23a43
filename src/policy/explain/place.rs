//! Where an address is: its department, and what the mapping makes of it.

use std::net::IpAddr;

use super::department_of;
use crate::bundle::Mapping;
use crate::identity::Qualified;
use crate::policy::model::{Department, Model};

/// One end of a flow.
#[derive(Clone, Debug)]
pub struct End<'m> {
    /// The address that the policy knows.
    pub overlay: IpAddr,
    /// The address that its own segment knows, where it has a department.
    pub real: Option<IpAddr>,
    /// The department.
    pub department: Option<&'m Department>,
    /// The mapping between the two addresses; both prefixes may be equal.
    pub mapping: Option<Mapping>,
}

impl<'m> End<'m> {
    pub(super) fn of(model: &'m Model, overlay: IpAddr) -> Self {
        let department = department_of(model, overlay);
        let mut mappings = department.iter().flat_map(|department| &department.mappings);
        let mapping = mappings.find(|mapping| mapping.overlay.contains(overlay)).copied();
        let real = mapping.and_then(|mapping| mapping.overlay.translate(overlay, mapping.real));
        Self { overlay, real, department, mapping }
    }
}

/// A real address that several departments have, each under another overlay address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is a real address of {} departments", .candidates.len())]
pub struct Elsewhere {
    /// The address.
    pub address: IpAddr,
    /// The departments, each with the overlay address that it has there.
    pub candidates: Vec<(Qualified, IpAddr)>,
}

/// The overlay address that is meant by an overlay or a real one. An address that is nobody's stays what it is.
///
/// # Errors
/// [`Elsewhere`].
pub fn overlay_of(model: &Model, address: IpAddr) -> Result<IpAddr, Elsewhere> {
    if model.overlay.iter().any(|overlay| overlay.contains(address)) {
        return Ok(address);
    }
    let translated = |department: &Department| {
        let found = department.mappings.iter().find_map(|mapping| mapping.real.translate(address, mapping.overlay))?;
        Some((department.name.clone(), found))
    };
    let candidates: Vec<_> = model.departments.iter().filter_map(translated).collect();
    match candidates.as_slice() {
        [] => Ok(address),
        [(_, overlay)] => Ok(*overlay),
        _ => Err(Elsewhere { address, candidates }),
    }
}
