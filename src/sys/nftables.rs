//! The one place that runs nft(8), that talks to the kernel's nftables itself, and that listens to its events.
//!
//! A [`Batch`] is one transaction: it comes into force as a whole or not at all, also if nft is killed half-way.
//! All calls block; from async code use a blocking thread.

mod commit;
mod kernel;
mod listing;
mod watch;

use std::io::{self, Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::gettid;

use super::netns::Handle;
use crate::ruleset::{self, Batch, Listing, Ruleset, TABLE, Tally};

pub use kernel::{Chain, Element, Kernel};
pub use watch::{Change, Watch};

const NFNL_SUBSYS_NFTABLES: u8 = 10;

/// nft, in this or another network namespace.
#[derive(Clone, Debug)]
pub struct Nft {
    namespace: Option<Handle>,
    timeout: Duration,
}

/// Why nft did not do as asked. The kernel is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NftError {
    /// There is no nft.
    #[error("the program nft was not found")]
    Missing,
    /// We may not.
    #[error("the kernel does not let us change nftables: operation not permitted")]
    NotPermitted,
    /// It took too long and was killed.
    #[error("nft did not end within {0:?} and was killed")]
    TimedOut(Duration),
    /// nft or the kernel refused the transaction.
    #[error("nft refused: {0}")]
    Refused(String),
    /// Our table is not there.
    #[error("there is no table inet {TABLE}")]
    NoTable,
    /// The operating system refused something else.
    #[error("{what}: {cause}")]
    System {
        /// What was being done.
        what: &'static str,
        /// The operating system's answer.
        cause: String,
    },
}

impl NftError {
    /// What to do about it; empty where nothing can be advised.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Missing => "install it: apt-get install nftables",
            Self::NotPermitted => "run as root, or give the process CAP_NET_ADMIN",
            Self::TimedOut(_) => "the machine is overloaded, or the kernel is busy with another's ruleset",
            Self::Refused(_) | Self::NoTable | Self::System { .. } => "",
        }
    }

    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { what, cause: error.to_string() }
    }
}

impl Default for Nft {
    fn default() -> Self {
        Self::new()
    }
}

impl Nft {
    /// nft in the caller's network namespace, killed after 30 s.
    pub fn new() -> Self {
        Self { namespace: None, timeout: Duration::from_secs(30) }
    }

    /// The same in another network namespace.
    pub fn within(self, namespace: Handle) -> Self {
        Self { namespace: Some(namespace), ..self }
    }

    /// The same with another limit of time.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Carries out one transaction: what is about elements alone by netlink, all else by nft. An empty one asks nothing of
    /// anybody. Returns the id of the process or thread that did it, by which [`Change::Generation`] tells our own changes
    /// from others'; 0 for an empty one.
    ///
    /// # Errors
    /// [`NftError`].
    pub fn apply(&self, batch: &Batch) -> Result<u32, NftError> {
        if batch.is_empty() {
            return Ok(0);
        }
        if let Some(changes) = batch.changes()
            && let Ok(thread) = self.commit(&changes)
        {
            return Ok(thread);
        }
        // nft says what it is that the kernel does not take.
        let json = batch.to_json().map_err(|error| NftError::Refused(error.to_string()))?;
        self.run(&["-j", "-f", "-"], &json).map(|(pid, _)| pid)
    }

    /// Carries out changes of elements by netlink; all of them, or none. Returns the id of the thread that did it.
    ///
    /// # Errors
    /// [`NftError`].
    pub fn commit(&self, changes: &[ruleset::Change<'_>]) -> Result<u32, NftError> {
        self.asking(|kernel| kernel.commit(changes).map(|()| gettid().as_raw().unsigned_abs()))
    }

    /// Has the kernel check a transaction and forget it: nothing changes, and nobody hears of it.
    ///
    /// # Errors
    /// [`NftError`]; [`NftError::Refused`] for what the kernel would not take.
    pub fn check(&self, batch: &Batch) -> Result<(), NftError> {
        let json = batch.to_json().map_err(|error| NftError::Refused(error.to_string()))?;
        self.run(&["-c", "-j", "-f", "-"], &json).map(drop)
    }

    /// Why this kernel cannot tell of packets by nflog, if it cannot: it has no nft_log or nfnetlink_log.
    pub fn mute(&self) -> Option<String> {
        match (self.check(&ruleset::trial(true)), self.check(&ruleset::trial(false))) {
            (Err(NftError::Refused(cause)), Ok(())) => Some(cause.lines().next().unwrap_or_default().to_owned()),
            // Where it takes neither, the load of the ruleset says why.
            _ => None,
        }
    }

    /// Loads a ruleset whatever is there: in place if our table has its shape, else in the table's place; where none is, closed
    /// at first, and then filled. Returns who did it, as [`Nft::apply`] does.
    ///
    /// # Errors
    /// [`NftError`].
    pub fn load(&self, ruleset: &Ruleset) -> Result<Vec<u32>, NftError> {
        let shape = |kernel: &mut Kernel| Ok((kernel.has_table(TABLE)?, kernel.has_chain(TABLE, ruleset.shape())?));
        match self.asking(shape)? {
            (false, _) => self.open(ruleset),
            (true, false) => Ok(vec![self.apply(&ruleset.load_all())?]),
            (true, true) => match self.apply(&ruleset.refill()) {
                Err(NftError::Refused(_)) => Ok(vec![self.apply(&ruleset.load_all())?]),
                done => Ok(vec![done?]),
            },
        }
    }

    fn open(&self, ruleset: &Ruleset) -> Result<Vec<u32>, NftError> {
        let [closed, rest] = ruleset.opening();
        let first = self.apply(&closed)?;
        match self.apply(&rest) {
            Ok(second) => Ok(vec![first, second]),
            Err(error) => {
                // Nothing passes either way; without it the next load begins anew.
                self.apply(&ruleset::remove())?;
                Err(error)
            }
        }
    }

    /// Our table as it is: counters and fingerprint.
    ///
    /// # Errors
    /// [`NftError`]; [`NftError::NoTable`] if there is none.
    pub fn listing(&self) -> Result<Listing, NftError> {
        self.asking(|kernel| kernel.listing(TABLE))?.ok_or(NftError::NoTable)
    }

    /// The named counters of our table alone, without its elements.
    ///
    /// # Errors
    /// As [`Nft::listing`].
    pub fn named_counters(&self) -> Result<Vec<Tally>, NftError> {
        self.asking(|kernel| kernel.counters(TABLE))?.ok_or(NftError::NoTable)
    }

    /// What the elements counted that a transaction would delete one by one.
    ///
    /// # Errors
    /// [`NftError`].
    pub fn last_counts(&self, batch: &Batch) -> Result<Vec<Tally>, NftError> {
        self.asking(|kernel| {
            let deleted = batch.deleted().filter(|elements| elements.counts());
            deleted
                .map(|elements| kernel.tallies(elements))
                .collect::<Result<Vec<_>, _>>()
                .map(|tallies| tallies.concat())
        })
    }

    /// Whether a table of this name and our family is there; not, if the kernel cannot say.
    pub fn has_table(&self, name: &str) -> bool {
        self.asking(|kernel| kernel.has_table(name)).unwrap_or(false)
    }

    fn asking<T>(&self, ask: impl FnOnce(&mut Kernel) -> io::Result<T>) -> Result<T, NftError> {
        ask(&mut self.kernel()?).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => NftError::NotPermitted,
            _ => NftError::system("asking the kernel about nftables")(error),
        })
    }

    /// A socket that asks the kernel itself about this namespace's tables.
    ///
    /// # Errors
    /// [`NftError::System`].
    pub fn kernel(&self) -> Result<Kernel, NftError> {
        let opened = match &self.namespace {
            Some(namespace) => namespace.enter(Kernel::open).and_then(|kernel| kernel),
            None => Kernel::open(),
        };
        opened.map_err(NftError::system("asking the kernel about nftables"))
    }

    /// Listens to changes of any table in this namespace.
    ///
    /// # Errors
    /// [`NftError::System`].
    pub fn watch(&self) -> Result<Watch, NftError> {
        let opened = match &self.namespace {
            Some(namespace) => namespace.enter(Watch::open).and_then(|watch| watch),
            None => Watch::open(),
        };
        opened.map_err(NftError::system("listening to nftables' events"))
    }

    fn run(&self, arguments: &[&str], input: &str) -> Result<(u32, String), NftError> {
        let mut command = Command::new("nft");
        command.args(arguments).env("LC_ALL", "C").env("PATH", search_path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(namespace) = &self.namespace {
            namespace.within(&mut command);
        }
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => NftError::Missing,
            io::ErrorKind::PermissionDenied => NftError::NotPermitted,
            _ => NftError::system("starting nft")(error),
        })?;
        let pid = child.id();
        let (status, output, complaint) = converse(&mut child, input, self.timeout)?;
        if status.success() {
            return Ok((pid, output));
        }
        if complaint.contains("Operation not permitted") {
            return Err(NftError::NotPermitted);
        }
        let complaint = complaint.trim();
        Err(NftError::Refused(if complaint.is_empty() { status.to_string() } else { complaint.to_owned() }))
    }
}

/// nft lives in /usr/sbin, which the search path of people other than root lacks.
fn search_path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// Writes and reads at once, so that no full pipe holds up the other side; kills the child when its time is up.
fn converse(child: &mut Child, input: &str, timeout: Duration) -> Result<(ExitStatus, String, String), NftError> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let writer = scope.spawn(move || match stdin {
            // A child that ended before it read all has said why on stderr.
            Some(mut stdin) => stdin.write_all(input.as_bytes()).is_ok(),
            None => false,
        });
        let output = scope.spawn(move || read(stdout));
        let complaint = scope.spawn(move || read(stderr));
        let status = wait(child, timeout)?;
        let joined = |text: thread::ScopedJoinHandle<'_, io::Result<String>>| match text.join() {
            Ok(text) => text.map_err(NftError::system("reading nft's answer")),
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let (output, complaint) = (joined(output)?, joined(complaint)?);
        match writer.join() {
            Ok(true) => Ok((status, output, complaint)),
            Ok(false) if status.success() => Err(NftError::Refused("it did not read the whole transaction".to_owned())),
            Ok(false) => Ok((status, output, complaint)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn read(from: Option<impl Read>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        from.read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn wait(child: &mut Child, timeout: Duration) -> Result<ExitStatus, NftError> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait().map_err(NftError::system("waiting for nft"))? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            child.kill().and_then(|()| child.wait()).map_err(NftError::system("killing nft"))?;
            return Err(NftError::TimedOut(timeout));
        }
        thread::park_timeout(Duration::from_millis(2));
    }
}
