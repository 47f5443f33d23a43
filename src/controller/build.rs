//! Builds a generation: one bundle per gateway in `OUT`, keys and trust beside it in `OUT.keys`.
//!
//! ```text
//!  OUT/<gateway>.bundle                 what each gateway is told
//!  OUT.keys/<gateway>/<uplink>.key      its private keys: on a hub <hub>/<hub>.key
//!  OUT.keys/signing.pem                 signs all three sections
//!  OUT.keys/trust.toml                  public: whom gateways believe
//!  OUT.keys/generation.toml             the last generation and the digest of what it says
//! ```
//!
//! The same contents give the same octets, so a build that changes nothing writes nothing, and one that was
//! interrupted is completed by the next. The generation rises only when what the gateways are told changes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bundle::{self, Contents, Digest, Encoded, MAX_OCTETS, Narrowing, Role, SealError, Trust};
use crate::identity::{Name, Signer};
use crate::policy::model::Model;
use crate::policy::{self, Keys, MissingKey};
use crate::store::keys::{self, KeyFileError};

/// Why a build failed. Whatever was written by then is completed by the next build.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// `OUT` is no path beside which a folder can be named.
    #[error("'{}' names no folder of its own", .0.display())]
    NoName(PathBuf),
    /// Another build is at work.
    #[error("another build is at work on {}", .0.display())]
    InUse(PathBuf),
    /// A key file is missing, unfit or cannot be written.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The operating system refused.
    #[error("cannot {what} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The error in words.
        cause: String,
        /// Whether it was for lack of permission.
        denied: bool,
    },
    /// The record of the last generation is damaged.
    #[error("{} does not say which generation was the last: {cause}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// What was compiled contradicts itself: a fault of this program.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A key pair was not made: a fault of this program.
    #[error(transparent)]
    MissingKey(#[from] MissingKey),
}

pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |error| BuildError::Io {
        what,
        path,
        cause: error.to_string(),
        denied: error.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// What a build came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Built {
    /// The network.
    pub network: Name,
    /// The generation.
    pub generation: u64,
    /// Whether it is a new one.
    pub changed: bool,
    /// Keys that were made, signing key included.
    pub keys_made: usize,
    /// The trust file.
    pub trust: PathBuf,
    /// The gateways, by name.
    pub gateways: Vec<BuiltGateway>,
    /// Bundles of gateways that are no longer in the definition, which were removed.
    pub removed: Vec<PathBuf>,
}

/// One gateway's part in a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuiltGateway {
    /// Its name.
    pub name: Name,
    /// Edge or relay.
    pub role: Role,
    /// Departments that it is told of.
    pub departments: usize,
    /// Agreements in force that it has a part in.
    pub agreements: usize,
    /// Rules.
    pub rules: usize,
    /// Links.
    pub links: usize,
    /// The bundle.
    pub bundle: PathBuf,
    /// The bundle's length.
    pub octets: usize,
    /// Whether the file was written, as against found as it must be.
    pub written: bool,
}

/// The folder of keys beside `out`.
///
/// # Errors
/// [`BuildError::NoName`] for a path such as `.` or `/`.
pub fn key_folder(out: &Path) -> Result<PathBuf, BuildError> {
    let name = out.file_name().ok_or_else(|| BuildError::NoName(out.to_owned()))?;
    let mut name = name.to_owned();
    name.push(".keys");
    Ok(out.with_file_name(name))
}

/// Builds the generation that `model` says, and makes what keys are missing.
///
/// # Errors
/// Any of [`BuildError`].
pub fn build(model: &Model, out: &Path) -> Result<Built, BuildError> {
    let folder = key_folder(out)?;
    keys::private_folder(&folder)?;
    let _lock = lock(&folder)?;
    let mut ring = KeyRing::open(model, &folder)?;
    let contents = contents(model, std::mem::take(&mut ring.public))?;
    let mut gateways: Vec<BuiltGateway> = contents.iter().map(|contents| report(contents, out)).collect();
    let encoded = Encoded::new(contents)?;
    let trust =
        Trust { network: model.network.clone(), operator: ring.signer.verifier(), controller: ring.signer.verifier() };
    fs::create_dir_all(out).map_err(failed("make the folder", out))?;

    let record = Record::read(&folder)?;
    let digest = Digest::of(&[encoded.digest().octets(), trust.to_toml().as_bytes()]);
    let found = existing(out)?;
    let highest = found.iter().filter_map(|path| genuine(path, &trust)).max();
    let next = Record::next(record.as_ref(), highest, digest);
    let changed = record.as_ref() != Some(&next);

    let sealed = encoded.seal(next.generation, &ring.signer, &ring.signer)?;
    write_if_other(&folder.join(TRUST), trust.to_toml().as_bytes(), 0o644)?;
    // Before the bundles, so that a build which stops half-way goes on with the same number.
    next.write(&folder)?;
    for gateway in &mut gateways {
        let octets = sealed.get(&gateway.name).map_or(&[][..], Vec::as_slice);
        gateway.octets = octets.len();
        gateway.written = write_if_other(&gateway.bundle, octets, 0o644)?;
    }
    let removed = remove_strays(found, &gateways, &trust)?;
    let (network, generation) = (model.network.clone(), next.generation);
    Ok(Built { network, generation, changed, keys_made: ring.made, trust: folder.join(TRUST), gateways, removed })
}

/// The trust file.
pub(super) const TRUST: &str = "trust.toml";
const RECORD: &str = "generation.toml";

pub(super) fn lock(folder: &Path) -> Result<File, BuildError> {
    let path = folder.join("lock");
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = open.map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BuildError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
    }
}

/// The lab's keys: every gateway's, and the one that signs.
struct KeyRing {
    signer: Signer,
    public: Keys,
    made: usize,
}

impl KeyRing {
    fn open(model: &Model, folder: &Path) -> Result<Self, BuildError> {
        let (signer, new) = keys::signer_or_new(&folder.join("signing.pem"))?;
        let mut ring = Self { signer, public: Keys::new(), made: usize::from(new) };
        for (gateway, uplink) in policy::keys_needed(model) {
            let own = folder.join(gateway.as_str());
            keys::private_folder(&own)?;
            let (key, new) = keys::wireguard_or_new(&own.join(format!("{uplink}.key")))?;
            ring.made += usize::from(new);
            ring.public.insert((gateway, uplink), key.public());
        }
        Ok(ring)
    }
}

fn contents(model: &Model, keys: Keys) -> Result<Vec<Contents>, MissingKey> {
    let mut members = policy::membership(model, &keys)?;
    let contents = policy::compile(model).into_iter().filter_map(|(gateway, policy)| {
        let membership = members.remove(&gateway)?;
        Some(Contents { policy, membership, narrowing: Narrowing::none(model.network.clone(), gateway) })
    });
    Ok(contents.collect())
}

fn report(Contents { policy, membership, .. }: &Contents, out: &Path) -> BuiltGateway {
    BuiltGateway {
        name: policy.gateway.clone(),
        role: policy.role,
        departments: policy.departments.len(),
        agreements: policy.agreements.len(),
        rules: policy.rules.len(),
        links: membership.links.len(),
        bundle: out.join(format!("{}.bundle", policy.gateway)),
        octets: 0,
        written: false,
    }
}

/// The last generation, and what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    generation: u64,
    digest: Digest,
}

impl Record {
    fn read(folder: &Path) -> Result<Option<Self>, BuildError> {
        let path = folder.join(RECORD);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let damaged = |error: toml::de::Error| BuildError::Record { path, cause: error.message().to_owned() };
        toml::from_str(&text).map(Some).map_err(damaged)
    }

    fn write(&self, folder: &Path) -> Result<bool, BuildError> {
        let text = format!("generation = {}\ndigest = \"{}\"\n", self.generation, self.digest);
        write_if_other(&folder.join(RECORD), text.as_bytes(), 0o644)
    }

    /// The same again if nothing changed, else one above everything that was ever given out.
    fn next(record: Option<&Self>, highest: Option<u64>, digest: Digest) -> Self {
        let highest = highest.unwrap_or(0);
        match record {
            Some(record) if record.digest == digest && record.generation >= highest => record.clone(),
            Some(record) => Self { generation: record.generation.max(highest).saturating_add(1), digest },
            None => Self { generation: highest.saturating_add(1), digest },
        }
    }
}

fn existing(out: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(out).map_err(failed("list", out))? {
        let path = entry.map_err(failed("list", out))?.path();
        if path.extension().is_some_and(|extension| extension == "bundle") {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The generation of a bundle that is one of ours; what cannot be read or opened is none.
fn genuine(path: &Path, trust: &Trust) -> Option<u64> {
    let octets = read(path).ok()?;
    bundle::open(&octets, trust).ok().map(|bundle| bundle.generation)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let longest = u64::try_from(MAX_OCTETS).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(longest).read_to_end(&mut octets)?;
    Ok(octets)
}

fn write_if_other(path: &Path, octets: &[u8], mode: u32) -> Result<bool, BuildError> {
    if read(path).is_ok_and(|found| found == octets) {
        return Ok(false);
    }
    keys::replace(path, octets, mode)?;
    Ok(true)
}

/// Removes our own bundles of gateways that are gone: handed out later, they would be of an old generation.
fn remove_strays(found: Vec<PathBuf>, gateways: &[BuiltGateway], trust: &Trust) -> Result<Vec<PathBuf>, BuildError> {
    let mut removed = Vec::new();
    for path in found {
        let known = gateways.iter().any(|gateway| gateway.bundle == path);
        if !known && genuine(&path, trust).is_some() {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
            removed.push(path);
        }
    }
    Ok(removed)
}
