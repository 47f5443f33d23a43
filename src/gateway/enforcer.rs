//! The policy in the kernel: loaded, changed, kept alive, watched and counted.
//!
//! The kernel and nft block, so every call runs on a blocking thread; between calls the state here says what the kernel should
//! have and what its table looked like after our own last transaction.

use std::collections::VecDeque;
use std::sync::Arc;

use super::error::GatewayError;
use crate::bundle::{Bundle, Policy};
use crate::ruleset::{self, Batch, Counters, Devices, Fingerprint, Listing, Ruleset, Totals};
use crate::sys::nftables::{Change, Nft, NftError};

/// How many of our own transactions are remembered, to tell them from others'.
const REMEMBERED: usize = 32;

/// The one who loads our table.
pub struct Enforcer {
    nft: Nft,
    loaded: Option<Arc<Ruleset>>,
    expected: Option<Fingerprint>,
    totals: Totals,
    own: VecDeque<u32>,
}

/// Which tables of ours were in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The one that this program loads.
    pub ours: bool,
    /// The one that drops everything before that.
    pub early: bool,
}

/// Compiles what a bundle asks of nftables, without records where the kernel is `mute`.
///
/// # Errors
/// [`GatewayError::Compile`].
pub fn compile(
    bundle: &Bundle,
    policy: &Policy,
    tunnel: &str,
    mtu: u32,
    mute: bool,
) -> Result<Arc<Ruleset>, GatewayError> {
    let wans = bundle.membership.uplinks.iter().filter_map(|uplink| uplink.device.clone()).collect();
    let mtu = u16::try_from(mtu).map_err(|_| GatewayError::Compile(format!("an MTU of {mtu} is too large")))?;
    let devices = Devices { tunnel: tunnel.to_owned(), mtu, wans };
    let ruleset = Ruleset::compile(policy, &devices).map_err(|error| GatewayError::Compile(error.to_string()))?;
    Ok(Arc::new(if mute { ruleset.without_records() } else { ruleset }))
}

impl Enforcer {
    /// Nothing is loaded yet.
    pub fn new() -> Self {
        Self { nft: Nft::new(), loaded: None, expected: None, totals: Totals::default(), own: VecDeque::new() }
    }

    /// Brings the kernel to `ruleset`: by a difference of elements where ours is loaded, else in full.
    ///
    /// # Errors
    /// [`GatewayError::Nft`]: the kernel is as it was.
    pub async fn put(&mut self, ruleset: Arc<Ruleset>) -> Result<(), GatewayError> {
        match self.loaded.clone() {
            None => self.load(ruleset).await,
            Some(old) if old == ruleset => Ok(()),
            Some(old) => {
                let (nft, new) = (self.nft.clone(), Arc::clone(&ruleset));
                let change = move || {
                    let batch = ruleset::diff(&old, &new).then(new.alive());
                    // What these elements counted goes with them.
                    let last = nft.last_counts(&batch)?;
                    Ok((nft.apply(&batch)?, last))
                };
                match blocking(change).await {
                    Ok((by, last)) => {
                        self.remember(by);
                        self.totals.note(&last);
                        self.settle(ruleset).await
                    }
                    // Somebody changed the table under it.
                    Err(_) => self.load(ruleset).await,
                }
            }
        }
    }

    /// Loads in full what should be there: the repair of drift.
    ///
    /// # Errors
    /// [`GatewayError::Nft`].
    pub async fn repair(&mut self) -> Result<(), GatewayError> {
        match self.loaded.clone() {
            Some(ruleset) => self.load(ruleset).await,
            None => Ok(()),
        }
    }

    async fn load(&mut self, ruleset: Arc<Ruleset>) -> Result<(), GatewayError> {
        let (nft, loading) = (self.nft.clone(), Arc::clone(&ruleset));
        blocking(move || nft.load(&loading)).await?.into_iter().for_each(|by| self.remember(by));
        self.settle(ruleset).await
    }

    async fn settle(&mut self, ruleset: Arc<Ruleset>) -> Result<(), GatewayError> {
        self.loaded = Some(ruleset);
        let listing = self.listing().await?;
        self.expected = Some(listing.fingerprint());
        self.totals.absorb(&listing);
        Ok(())
    }

    /// Lets what is loaded live for another [`ruleset::ALIVE_SECONDS`].
    ///
    /// # Errors
    /// [`GatewayError::Nft`], above all when the table is gone.
    pub async fn renew(&mut self) -> Result<(), GatewayError> {
        match &self.loaded {
            Some(ruleset) => self.apply(ruleset.alive()).await,
            None => Ok(()),
        }
    }

    /// Which tables of ours are in the kernel, also of a former process.
    pub async fn found(&self) -> Found {
        let nft = self.nft.clone();
        let look =
            move || Ok(Found { ours: nft.has_table(ruleset::TABLE), early: nft.has_table(ruleset::EARLY_TABLE) });
        blocking(look).await.unwrap_or(Found { ours: false, early: false })
    }

    /// Undoes the first load, for a start that failed. A table of ours that was there before stays, as it closes by
    /// itself; the early one comes back in the same instant in which ours goes.
    ///
    /// # Errors
    /// [`GatewayError::Nft`].
    pub async fn withdraw(&mut self, before: Found) -> Result<(), GatewayError> {
        match before {
            Found { ours: true, .. } => Ok(()),
            Found { ours: false, early: true } => self.apply(ruleset::remove().then(ruleset::early_drop())).await,
            Found { ours: false, early: false } => self.apply(ruleset::remove()).await,
        }
    }

    /// Whether somebody changed our table. Reads the counters on the way.
    ///
    /// # Errors
    /// [`GatewayError::Nft`] if it cannot be listed for another reason than that it is gone.
    pub async fn drifted(&mut self) -> Result<bool, GatewayError> {
        let nft = self.nft.clone();
        let listed = tokio::task::spawn_blocking(move || nft.listing()).await;
        match listed.map_err(|error| GatewayError::Nft(error.to_string()))? {
            Ok(listing) => {
                self.totals.absorb(&listing);
                Ok(Some(listing.fingerprint()) != self.expected)
            }
            Err(NftError::NoTable) => Ok(true),
            Err(error) => Err(GatewayError::Nft(error.to_string())),
        }
    }

    /// Reads the counters.
    ///
    /// # Errors
    /// [`GatewayError::Nft`].
    pub async fn count(&mut self) -> Result<(), GatewayError> {
        let listing = self.listing().await?;
        self.totals.absorb(&listing);
        Ok(())
    }

    /// What was counted since the process began.
    pub fn counters(&self) -> &Counters {
        self.totals.counters()
    }

    /// Whether any of the changes was made by somebody else.
    pub fn is_foreign(&self, changes: &[Change]) -> bool {
        changes.iter().any(|change| match change {
            Change::Generation { by, .. } => !self.own.contains(by),
            Change::Lost => true,
        })
    }

    async fn listing(&self) -> Result<Listing, GatewayError> {
        let nft = self.nft.clone();
        blocking(move || nft.listing()).await
    }

    async fn apply(&mut self, batch: Batch) -> Result<(), GatewayError> {
        let nft = self.nft.clone();
        let by = blocking(move || nft.apply(&batch)).await?;
        self.remember(by);
        Ok(())
    }

    fn remember(&mut self, by: u32) {
        if self.own.len() == REMEMBERED {
            self.own.pop_front();
        }
        self.own.push_back(by);
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NftError> + Send + 'static,
) -> Result<T, GatewayError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| GatewayError::Nft(error.to_string())),
        Err(error) => Err(GatewayError::Nft(error.to_string())),
    }
}
