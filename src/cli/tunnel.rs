//! `turnpike tunnel`: a plain WireGuard interface, in the place of `wireguard-go`.
//!
//! ```text
//!  fork ─► starter: waits for one octet, exits with it
//!       └► daemon: device ─► socket ─► data plane ─► "ready" ─► serve until a signal,
//!                  or until the socket's file or the device is gone
//! ```

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use nix::errno::Errno;

use super::marking::Marks;
use super::offloads::Switches;
use super::scheduling::Competition;
use super::workers::Crew;
use super::{Exit, Failure};
use crate::dataplane::{Dataplane, End, Options};
use crate::sys::process::{self, Side};
use crate::sys::tun::{Tun, TunError};
use crate::telemetry::logging;
use crate::uapi::{self, Interface, Server, Socket, SocketError};

/// Programs of these names are `turnpike tunnel`: wg-quick can be told a program but no subcommand.
const NAMES: [&str; 2] = ["turnpike-tunnel", "wireguard-go"];

/// How often it is seen whether the socket's file and the device are still there.
const LOOK: Duration = Duration::from_millis(100);

/// How long a process whose device was just deleted may take to leave its socket.
const PATIENCE: Duration = Duration::from_secs(2);

const HELP: &str = "\
The process goes to the background once the interface and its socket,
/var/run/wireguard/INTERFACE.sock, exist. It ends by SIGTERM or SIGINT, and when the interface
or the socket is deleted.

Environment:
  WG_TUN_FD, WG_UAPI_FD    descriptors of a TUN device and a listening socket to use
  WG_PROCESS_FOREGROUND=1  as --foreground
  TURNPIKE_WITHOUT_OFFLOADS=udp_gso,tun_uso
                           as --without-offload
  TURNPIKE_SCHEDULING=ordinary
                           as --scheduling
  TURNPIKE_WORKERS=2       as --workers
  LOG_LEVEL                verbose (or debug), info, error (default) or silent; when set,
                           the background process keeps writing its log to stderr;
                           info tells how many workers there are, and which
                           offloads of the kernel's are in use

Examples:
  turnpike tunnel wg0 && wg setconf wg0 /etc/wireguard/wg0.conf
  ip link delete wg0
  LOG_LEVEL=info turnpike tunnel --foreground --without-offload udp_gso,udp_gro wg0

Called by the name turnpike-tunnel it needs no subcommand, so that wg-quick(8) can call it:
  ln -s \"$(command -v turnpike)\" /usr/local/sbin/turnpike-tunnel
  WG_QUICK_USERSPACE_IMPLEMENTATION=turnpike-tunnel wg-quick up wg0";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Tunnel {
    /// Stay in the foreground.
    #[arg(short, long)]
    foreground: bool,
    #[command(flatten)]
    marks: Marks,
    #[command(flatten)]
    switches: Switches,
    #[command(flatten)]
    competition: Competition,
    #[command(flatten)]
    crew: Crew,
    /// The interface's name: 1 to 15 characters without blank, slash, colon or percent sign.
    #[arg(value_name = "INTERFACE", value_parser = device_name)]
    interface: String,
}

/// The arguments, with the subcommand that a program's name implies.
pub(super) fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut given: Vec<OsString> = given.collect();
    let name = given.first().and_then(|program| Path::new(program).file_name());
    if name.is_some_and(|name| NAMES.iter().any(|known| name == *known)) {
        given.insert(1, "tunnel".into());
    }
    given
}

/// As the kernel's `dev_valid_name`; besides, `%` would make a pattern of the name.
fn device_name(text: &str) -> Result<String, String> {
    let odd = |letter: char| letter.is_whitespace() || letter.is_control() || matches!(letter, '/' | ':' | '%');
    if text.is_empty() || text.len() > 15 || text == "." || text == ".." || text.contains(odd) {
        return Err("a device's name has 1 to 15 characters, without blank, slash, colon or percent sign".into());
    }
    Ok(text.to_owned())
}

/// Runs the interface, or starts the process that does.
pub(super) fn tunnel(arguments: &Tunnel) -> Result<Exit, Failure> {
    let options = Options {
        offloads: arguments.switches.offloads()?,
        scheduling: arguments.competition.class()?,
        workers: arguments.crew.workers()?,
        ..Options::default()
    };
    let environment = Environment::read(options)?;
    if arguments.foreground || environment.foreground {
        return serve(arguments, &environment, || Ok(()));
    }
    let cannot = |error| Failure::new(Exit::Unavailable, format!("cannot go to the background: {error}"), "");
    match process::daemonise().map_err(cannot)? {
        Side::Starter { told, .. } => told.and_then(Exit::of).ok_or_else(|| {
            let cause = "the background process ended before it was ready";
            Failure::new(Exit::Internal, cause, "run it with --foreground to see more")
        }),
        Side::Daemon(readiness) => {
            let mut readiness = Some(readiness);
            let keep_log = environment.log.is_some_and(|level| level != "off");
            let outcome = serve(arguments, &environment, || {
                process::detach_terminal(!keep_log)?;
                readiness.take().map_or(Ok(()), |readiness| readiness.tell(Exit::Fine as u8))
            });
            let exit = outcome.unwrap_or_else(Failure::report);
            if let Some(Err(error)) = readiness.map(|readiness| readiness.tell(exit as u8)) {
                tracing::error!("the starter was not told: {error}");
            }
            Ok(exit)
        }
    }
}

/// What the environment asks for, in wireguard-go's words where it has one.
struct Environment {
    tun: Option<i32>,
    socket: Option<i32>,
    foreground: bool,
    /// The log's level, if one was asked for.
    log: Option<&'static str>,
    /// What the data plane is told, by the options too.
    options: Options,
}

impl Environment {
    fn read(options: Options) -> Result<Self, Failure> {
        let log = std::env::var("LOG_LEVEL").ok().filter(|level| !level.is_empty());
        Ok(Self {
            tun: descriptor("WG_TUN_FD")?,
            socket: descriptor("WG_UAPI_FD")?,
            foreground: std::env::var("WG_PROCESS_FOREGROUND").is_ok_and(|value| value == "1"),
            log: log.map(|level| match level.as_str() {
                "verbose" | "debug" => "debug",
                "info" => "info",
                "silent" => "off",
                _ => "error",
            }),
            options,
        })
    }
}

fn descriptor(variable: &str) -> Result<Option<i32>, Failure> {
    let Ok(text) = std::env::var(variable) else { return Ok(None) };
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let cause = format!("{variable}='{text}' is not the number of a descriptor");
        Failure::new(Exit::Usage, cause, format!("unset {variable}, or pass an open descriptor in it"))
    })
}

fn inherited(variable: &str, number: i32) -> Result<OwnedFd, Failure> {
    process::inherited(number).map_err(|error| {
        let cause = format!("{variable}={number} cannot be used: {error}");
        Failure::new(Exit::Unavailable, cause, format!("unset {variable}, or pass an open descriptor in it"))
    })
}

/// Raises the interface, calls `ready`, and serves until its end.
fn serve(
    arguments: &Tunnel,
    environment: &Environment,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<Exit, Failure> {
    logging::start_from(environment.log.unwrap_or("error"), logging::Format::Human);
    let internal = |what: &'static str| move |error| Failure::new(Exit::Internal, format!("{what}: {error}"), "");
    let end = process::end_requested().map_err(internal("cannot watch for signals"))?;
    let tun = open_device(&arguments.interface, environment)?;
    let name = tun.name().map_err(device_failure)?;
    let socket = open_socket(&name, environment)?;
    let plane = Dataplane::start(tun, environment.options).map_err(plane_failure)?;
    let interface = Interface::new(plane, arguments.marks.dscp).map_err(plane_failure)?;
    ready().map_err(internal("cannot leave the terminal"))?;
    tracing::info!("{name} is ready");
    let ended = answer_until_end(Server::new(socket), interface, &end).map_err(internal("cannot wait for clients"))?;
    match ended {
        End::Stopped | End::DeviceGone => Ok(Exit::Fine),
        End::Failed(cause) => {
            tracing::error!("{name} ends: {cause}");
            Err(Failure::new(Exit::Internal, format!("the data plane of {name} failed: {cause}"), ""))
        }
    }
}

/// Serves until something asks for the end, then ends everything.
fn answer_until_end(mut server: Server, mut interface: Interface, end: &UnixStream) -> io::Result<End> {
    let zone = |zone: &str| nix::net::if_::if_nametoindex(zone).ok();
    let reason = loop {
        let mut answer = |asked| interface.answer(asked);
        if server.turn(&[end.as_fd()], LOOK, &zone, &mut answer)? {
            break "a signal asked for it";
        }
        if !server.socket().is_there() {
            break "its socket was removed";
        }
        if interface.ended().is_some() {
            break "its data plane has ended";
        }
    };
    tracing::info!("the interface ends: {reason}");
    // First the device: whoever finds the socket's name free must find the device's name free too.
    let ended = interface.ended();
    let stopped = interface.stop();
    drop(server);
    Ok(ended.unwrap_or(stopped))
}

fn plane_failure(error: impl std::error::Error) -> Failure {
    Failure::new(Exit::Unavailable, error.to_string(), "LOG_LEVEL=debug tells more")
}

fn open_socket(name: &str, environment: &Environment) -> Result<Socket, Failure> {
    if let Some(number) = environment.socket {
        return Socket::inherited(inherited("WG_UAPI_FD", number)?).map_err(socket_failure);
    }
    let patient_until = Instant::now() + PATIENCE;
    loop {
        match Socket::open(Path::new(uapi::DIRECTORY), name) {
            // The device is ours, so the process that had it may be on its way out.
            Err(SocketError::InUse(_)) if Instant::now() < patient_until => std::thread::park_timeout(LOOK / 2),
            outcome => return outcome.map_err(socket_failure),
        }
    }
}

fn socket_failure(error: SocketError) -> Failure {
    let (exit, remedy) = match &error {
        SocketError::InUse(path) => {
            (Exit::Unavailable, format!("end that process by removing {}, or choose another name", path.display()))
        }
        SocketError::NotASocket(path) => (Exit::Unavailable, format!("move {} away", path.display())),
        SocketError::System { errno: Errno::EACCES | Errno::EPERM, .. } => {
            (Exit::NoPermission, "run it as root".into())
        }
        SocketError::System { .. } => (Exit::Unavailable, String::new()),
    };
    Failure::new(exit, error.to_string(), remedy)
}

fn open_device(name: &str, environment: &Environment) -> Result<Tun, Failure> {
    let opened = match environment.tun {
        Some(number) => Tun::from_fd(inherited("WG_TUN_FD", number)?),
        None => Tun::create(name),
    };
    opened.map_err(device_failure)
}

fn device_failure(error: TunError) -> Failure {
    let (exit, remedy) = match &error {
        TunError::NotPermitted(_) => (Exit::NoPermission, "run it as root, or give it CAP_NET_ADMIN"),
        TunError::Busy(_) => (Exit::Unavailable, "delete that device, or choose another name"),
        TunError::BadName(_) => (Exit::Usage, "choose another name"),
        TunError::Unavailable | TunError::NotTun | TunError::System { .. } => (Exit::Unavailable, ""),
    };
    Failure::new(exit, error.to_string(), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(given: &[&str]) -> Vec<String> {
        arguments(given.iter().map(OsString::from)).into_iter().filter_map(|word| word.into_string().ok()).collect()
    }

    #[test]
    fn a_program_name_can_imply_the_subcommand() {
        assert_eq!(words(&["/usr/sbin/turnpike-tunnel", "wg0"]), ["/usr/sbin/turnpike-tunnel", "tunnel", "wg0"]);
        assert_eq!(words(&["wireguard-go", "-f", "wg0"]), ["wireguard-go", "tunnel", "-f", "wg0"]);
        assert_eq!(words(&["./turnpike", "status"]), ["./turnpike", "status"]);
        assert_eq!(words(&[]), [""; 0]);
    }

    #[test]
    fn names_that_no_device_can_have_are_refused() {
        for name in ["wg0", "a", "fifteen-letters", "wg=+.-_"] {
            assert_eq!(device_name(name).as_deref(), Ok(name));
        }
        for name in ["", ".", "..", "sixteen-letters-", "a/b", "a b", "a\tb", "wg%d", "a:1", "a\u{a0}b"] {
            assert!(device_name(name).is_err(), "{name:?}");
        }
    }
}
