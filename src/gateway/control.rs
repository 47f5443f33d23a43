//! The control socket `DIR/gateway.sock`: one JSON line asks, one JSON line answers, then the connection ends.
//!
//! ```text
//!  {"ask":"status"}                          {"status":{…}}
//!  {"ask":"in-force"}                        {"in-force":{…}}
//!  {"ask":"heartbeat","heartbeat":"{…}"}     {"done":"…"}    or {"error":"…"}
//!  {"ask":"apply","confirm_within":300}      {"done":"…"}    or {"refused":{"fault":…,"cause":…,"remedy":…}}
//!  {"ask":"narrow","notice":"{…}"}           {"done":"…"}    or {"error":"…"}
//!  {"ask":"stage","bundle":"…"}              {"done":"…"}    or {"refused":{…}}
//!  {"ask":"staged"}                          {"staged":{…}}  or {"refused":{…}}
//!  {"ask":"confirm"}, {"ask":"rollback"}     the same
//!  {"ask":"reload"}                          {"done":"generation 7 is in force"}
//!  {"ask":"pause-repair","seconds":30}       {"done":"…"}    or {"error":"…"}
//!  {"ask":"resume-repair"}                   {"done":"…"}
//! ```
//!
//! The socket has mode 0600: whoever may use it is the gateway's own user or root.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use super::error::{Fault, GatewayError};
use super::stage;
use super::trial::Apply;
use crate::bundle::Digest;
use crate::telemetry::status::Status;

/// The socket's name in the state folder.
pub const SOCKET: &str = "gateway.sock";

/// The longest pause of repair, in seconds.
pub const LONGEST_PAUSE: u64 = 600;

/// How long a client waits for an answer, and a gateway for a question.
const PATIENCE: Duration = Duration::from_secs(15);

/// No question is longer, in octets.
const LONGEST_QUESTION: u64 = 64 << 10;

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The status document.
    Status,
    /// By which bundle and devices the kernel was filled.
    InForce,
    /// Read the bundle file again, as SIGHUP does.
    Reload,
    /// Apply a bundle.
    Apply(Apply),
    /// Hold a bundle beside the one in force.
    Stage {
        /// Its file.
        bundle: PathBuf,
    },
    /// Tell what the staged bundle would do.
    Staged,
    /// Acknowledge the bundle on trial.
    Confirm,
    /// Bring the former bundle back.
    Rollback,
    /// Take a heartbeat.
    Heartbeat {
        /// The octets of the file, which are text.
        heartbeat: String,
    },
    /// Take a notice.
    Narrow {
        /// The octets of the file, which are text.
        notice: String,
    },
    /// Leave foreign changes alone for a while.
    PauseRepair {
        /// How long, 1 to [`LONGEST_PAUSE`].
        seconds: u64,
    },
    /// Repair again.
    ResumeRepair,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// The status document.
    Status(Box<Status>),
    /// By which bundle and devices the kernel was filled.
    InForce(InForce),
    /// What the staged bundle would do.
    Staged(stage::Report),
    /// It was done, in words.
    Done(String),
    /// It was not, and why.
    Error(String),
    /// It was not, whose fault that is, and what to do.
    Refused(Refusal),
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Whose fault it is.
    pub fault: Fault,
    /// Why.
    pub cause: String,
    /// What to do; empty where nothing can be advised.
    pub remedy: String,
}

impl Refusal {
    /// What an error says.
    pub fn of(error: &GatewayError) -> Self {
        Self { fault: error.fault(), cause: error.to_string(), remedy: error.remedy() }
    }
}

/// Who asks, as far as the kernel says (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The process.
    pub process: Option<i32>,
    /// Its user.
    pub user: Option<u32>,
}

/// What a running gateway holds the kernel to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// The bundle's generation.
    pub generation: u64,
    /// The digest of its octets.
    pub digest: Digest,
    /// The tunnel's device.
    pub device: String,
    /// That device's MTU, in octets.
    pub mtu: u32,
    /// Whether its table tells of no packets, since the kernel cannot.
    pub mute: bool,
    /// Whether the repair of what others change is paused.
    pub paused: bool,
    /// The agreements of the bundle that are not honoured, by number, and why.
    #[serde(default)]
    pub withheld: BTreeMap<u32, String>,
}

/// Why nothing was answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No gateway runs on this state.
    #[error("no gateway runs with the state in {}", .0.display())]
    NoGateway(PathBuf),
    /// Not allowed to ask.
    #[error("{} may not be used by this user", .0.display())]
    Denied(PathBuf),
    /// The connection failed.
    #[error("{}: {cause}", path.display())]
    Failed {
        /// The socket.
        path: PathBuf,
        /// The error in words.
        cause: String,
    },
}

/// Asks the gateway whose state is in `state`.
///
/// # Errors
/// [`ControlError`].
pub fn ask(state: &Path, request: &Request) -> Result<Response, ControlError> {
    let path = state.join(SOCKET);
    let failed = |cause: String| ControlError::Failed { path: path.clone(), cause };
    let mut stream = UnixStream::connect(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
            ControlError::NoGateway(state.to_owned())
        }
        std::io::ErrorKind::PermissionDenied => ControlError::Denied(path.clone()),
        _ => failed(error.to_string()),
    })?;
    let mut line = serde_json::to_string(request).map_err(|error| failed(error.to_string()))?;
    line.push('\n');
    let mut answer = String::new();
    let exchange = stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.write_all(line.as_bytes()))
        .and_then(|()| BufReader::new(&mut stream).take(1 << 28).read_line(&mut answer));
    exchange.map_err(|error| failed(error.to_string()))?;
    serde_json::from_str(&answer).map_err(|error| failed(error.to_string()))
}

/// A question on its way to the gateway's own task, and where the answer goes.
pub type Question = (Request, Caller, oneshot::Sender<Response>);

/// Makes the socket. A stale one is replaced: the state's lock says that nobody uses it.
///
/// # Errors
/// Those of `bind(2)`.
pub fn bind(state: &Path) -> std::io::Result<UnixListener> {
    let path = state.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Takes questions until the task is aborted. At most one connection is served at a time per slot of `questions`.
pub async fn serve(listener: UnixListener, questions: mpsc::Sender<Question>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let questions = questions.clone();
                connections.spawn(async move {
                    if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, answer(stream, questions)).await {
                        tracing::debug!(%error, "a control connection ended early");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket does not accept");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(mut stream: tokio::net::UnixStream, questions: mpsc::Sender<Question>) -> std::io::Result<()> {
    let credentials = stream.peer_cred()?;
    let caller = Caller { process: credentials.pid(), user: Some(credentials.uid()) };
    let mut line = String::new();
    let (reader, mut writer) = stream.split();
    tokio::io::BufReader::new(reader).take(LONGEST_QUESTION).read_line(&mut line).await?;
    let response = match serde_json::from_str::<Request>(&line) {
        Err(error) => Response::Error(format!("not a request: {error}")),
        Ok(request) => put(request, caller, &questions).await,
    };
    let mut text = serde_json::to_vec(&response)?;
    text.push(b'\n');
    writer.write_all(&text).await?;
    writer.shutdown().await
}

/// Puts a question to the gateway's own task.
pub async fn put(request: Request, caller: Caller, questions: &mpsc::Sender<Question>) -> Response {
    let (sender, receiver) = oneshot::channel();
    let gone = || Response::Error("the gateway is stopping".to_owned());
    if questions.send((request, caller, sender)).await.is_err() {
        return gone();
    }
    receiver.await.unwrap_or_else(|_| gone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_lines_as_documented_and_nothing_else() {
        let read = |text: &str| serde_json::from_str::<Request>(text).ok();
        assert_eq!(read(r#"{"ask":"status"}"#), Some(Request::Status));
        assert_eq!(read(r#"{"ask":"in-force"}"#), Some(Request::InForce));
        assert_eq!(read(r#"{"ask":"pause-repair","seconds":30}"#), Some(Request::PauseRepair { seconds: 30 }));
        for bad in
            ["", "{}", r#"{"ask":"stop"}"#, r#"{"ask":"pause-repair"}"#, r#"{"ask":"pause-repair","seconds":-1}"#]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn where_no_gateway_runs_that_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = ask(folder.path(), &Request::Status);
        assert_eq!(missing, Err(ControlError::NoGateway(folder.path().to_owned())));
        drop(std::os::unix::net::UnixListener::bind(folder.path().join(SOCKET)).expect("bound"));
        let stale = ask(folder.path(), &Request::Status);
        assert_eq!(stale, Err(ControlError::NoGateway(folder.path().to_owned())));
    }
}
