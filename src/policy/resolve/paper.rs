//! One agreement as those see it who sign: before numbers are given out, with who may sign for whom.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Draft;
use crate::identity::{Id, Name};
use crate::policy::finding::{Finding, Severity};
use crate::policy::model::{Agreement, CouncilSigner};
use crate::policy::source::Files;
use crate::policy::terms::Terms;

/// An agreement, what is consented to, and by whom.
#[derive(Clone, Debug)]
pub struct Paper {
    /// The network's name.
    pub network: Name,
    /// The agreement; its number has not been given out.
    pub agreement: Agreement,
    /// Its terms.
    pub terms: Terms,
    /// Who may sign, by council: of every council that has a part in it.
    pub signers: BTreeMap<Name, Vec<CouncilSigner>>,
}

/// The paper of one agreement, judged as of `at`; `None` if there is no such agreement.
///
/// # Errors
/// All errors of the definition, other than those about numbers.
pub fn paper(files: &Files, id: &Id, at: Timestamp) -> Result<Option<Paper>, Vec<Finding>> {
    let draft = Draft { at, keeps_terms: true, ..Draft::default() };
    let mut draft = draft.read(files).map_err(|mut found| {
        found.retain(|finding| finding.severity == Severity::Error);
        found
    })?;
    let at = draft.agreements.binary_search_by(|agreement| agreement.id.cmp(id)).ok();
    let (Some(network), Some(at), Some(terms)) = (draft.network.clone(), at, draft.terms.remove(id)) else {
        return Ok(None);
    };
    let signers = terms.councils.iter().map(|name| (name.clone(), draft.signers(name).to_vec())).collect();
    Ok(Some(Paper { network, agreement: draft.agreements.swap_remove(at), terms, signers }))
}
