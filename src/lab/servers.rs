//! The legacy systems: servers from Debian, run on a legacy host with files of the lab's own.
//!
//! Nothing of the machine's own configuration is read or written: each server gets a folder of the lab's. OpenSMTPD
//! insists on paths of its own and so runs in a mount namespace of its own.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::net::{PortMatch, Protocol};
use crate::policy::model::Model;

use super::guard::{GuardError, Namespace, Process, wait_until};
use super::surroundings::Server;
use super::topology::{Host, Network};

/// What the web servers answer at `/`, and what the FTP server has as [`LEDGER`].
pub const GREETING: &str = "a legacy system answers\n";
/// A file on every web server that takes long to fetch: 4 GiB of zeros, which occupy nothing.
pub const BULK: &str = "bulk.bin";
/// The file on the FTP server.
pub const LEDGER: &str = "ledger.csv";

const STARTUP: Duration = Duration::from_secs(10);
/// Debian's `nobody`, to whom the mail server delivers.
const NOBODY: u32 = 65_534;

/// Why the servers do not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// A namespace refused something.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// A file could not be made.
    #[error("{path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        cause: String,
    },
    /// A program is not installed.
    #[error("{0} is not installed")]
    Missing(&'static str),
    /// `openssl` could not make a certificate.
    #[error("openssl made no certificate: {0}")]
    Certificate(String),
    /// A server does not listen after 10 s.
    #[error("{server} on {host} does not listen on port {port}: {log}")]
    Silent {
        /// The program.
        server: &'static str,
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What it printed.
        log: String,
    },
}

impl Server {
    /// The program, and the Debian package that has it.
    pub fn program(self) -> &'static str {
        match self {
            Self::Web => "nginx",
            Self::Mail => "smtpd",
            Self::Ftp => "vsftpd",
            Self::Iperf => "iperf3",
            Self::Telnet => "socat",
        }
    }

    /// The TCP ports on which it listens.
    pub fn ports(self) -> &'static [u16] {
        match self {
            Self::Web => &[80, 443],
            Self::Mail => &[25],
            Self::Ftp => &[21],
            Self::Iperf => &[5201],
            Self::Telnet => &[23],
        }
    }
}

/// The running servers and where their files are.
#[derive(Debug)]
pub struct Servers {
    /// The certificate that the web servers show; clients trust it alone.
    pub certificate: PathBuf,
    folder: PathBuf,
    processes: Vec<Process>,
}

impl Servers {
    /// Starts every server of every host, and waits until all listen.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn start(network: &Network, model: &Model) -> Result<Self, ServerError> {
        let folder = network.folder().join("servers");
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let certificate = make_certificate(&folder, &network.hosts)?;
        let mut servers = Self { certificate, folder, processes: Vec::new() };
        for host in &network.hosts {
            for server in &host.plan.servers {
                servers.start_one(host, *server, model)?;
            }
        }
        servers.wait(network)?;
        Ok(servers)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.processes.len()
    }

    /// The messages that arrived at a host's mail server, in no order.
    pub fn messages(&self, host: &Host) -> Vec<String> {
        let mails = fs::read_dir(self.folder_of(host, Server::Mail).join("box/new"));
        mails.into_iter().flatten().flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect()
    }

    fn folder_of(&self, host: &Host, server: Server) -> PathBuf {
        self.folder.join(host.plan.name.as_str()).join(server.program())
    }

    fn start_one(&mut self, host: &Host, server: Server, model: &Model) -> Result<(), ServerError> {
        let folder = self.folder_of(host, server);
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let program = find(server.program())?;
        let mut command = match server {
            Server::Web => web(&program, &folder, &self.folder)?,
            Server::Mail => mail(&program, &folder)?,
            Server::Ftp => ftp(&program, &folder, passive_ports(model, &host.plan.addresses[0].address()))?,
            Server::Iperf => Command::new(&program),
            Server::Telnet => Command::new(&program),
        };
        match server {
            Server::Iperf => command.arg("--server"),
            Server::Telnet => command.args(["TCP-LISTEN:23,fork,reuseaddr", "SYSTEM:echo login:"]),
            Server::Web | Server::Mail | Server::Ftp => &mut command,
        };
        self.processes.push(host.namespace.spawn(command)?);
        Ok(())
    }

    fn wait(&self, network: &Network) -> Result<(), ServerError> {
        let all = network.hosts.iter().flat_map(|host| host.plan.servers.iter().map(move |server| (host, *server)));
        for ((host, server), process) in all.zip(&self.processes) {
            for &port in server.ports() {
                if !wait_until(STARTUP, || listens(&host.namespace, port)) {
                    let (server, host) = (server.program(), host.plan.name.to_string());
                    return Err(ServerError::Silent { server, host, port, log: process.log() });
                }
            }
        }
        Ok(())
    }
}

/// Whether something listens on a TCP port in a namespace, by `/proc/net/tcp` and `tcp6` (`proc(5)`).
pub fn listens(namespace: &Namespace, port: u16) -> bool {
    let tables = namespace.enter(|| {
        ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default())
    });
    let suffix = format!(":{port:04X}");
    let listening = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next().is_some_and(|local| local.ends_with(&suffix)) && fields.nth(1) == Some("0A")
    };
    tables.is_ok_and(|tables| tables.iter().any(|table| table.lines().any(listening)))
}

fn at(path: &Path) -> impl Fn(io::Error) -> ServerError {
    let path = path.to_owned();
    move |error| ServerError::File { path: path.clone(), cause: error.to_string() }
}

fn write(path: &Path, text: &str) -> Result<(), ServerError> {
    fs::write(path, text).map_err(at(path))
}

/// Finds a program, also where the path lacks the system's folders, as an ordinary user's does.
pub fn find(program: &'static str) -> Result<PathBuf, ServerError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let mut files = std::env::split_paths(&path).chain(system).map(|folder| folder.join(program));
    files.find(|file| file.is_file()).ok_or(ServerError::Missing(program))
}

fn make_certificate(folder: &Path, hosts: &[Host]) -> Result<PathBuf, ServerError> {
    let names: Vec<String> = hosts.iter().flat_map(|host| &host.overlay).map(|a| format!("IP:{a}")).collect();
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    let output = Command::new(find("openssl")?)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=legacy", "-addext", &format!("subjectAltName={}", names.join(","))])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .map_err(|error| ServerError::Certificate(error.to_string()))?;
    if output.status.success() {
        Ok(certificate)
    } else {
        Err(ServerError::Certificate(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

fn web(program: &Path, folder: &Path, shared: &Path) -> Result<Command, ServerError> {
    let files = folder.join("files");
    fs::create_dir_all(&files).map_err(at(&files))?;
    write(&files.join("index.html"), GREETING)?;
    let bulk = files.join(BULK);
    fs::File::create(&bulk).and_then(|file| file.set_len(1 << 32)).map_err(at(&bulk))?;
    let (folder, shared) = (folder.display(), shared.display());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {folder}/{kind};\n"))
        .collect();
    let text = format!(
        "daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log stderr;\n\
         events {{}}\nhttp {{\n  access_log off;\n{temporary}\
         \x20 ssl_certificate {shared}/certificate.pem;\n  ssl_certificate_key {shared}/key.pem;\n\
         \x20 server {{\n    listen 80;\n    listen [::]:80;\n    listen 443 ssl;\n    listen [::]:443 ssl;\n\
         \x20   root {folder}/files;\n  }}\n}}\n"
    );
    let configuration = files.with_file_name("nginx.conf");
    write(&configuration, &text)?;
    let mut command = Command::new(program);
    command.args(["-e", "stderr", "-c"]).arg(configuration);
    Ok(command)
}

/// In the server's own view, its folder is `/mnt`, and `/run`, `/var/spool` and the name servers are its own.
fn mail(program: &Path, folder: &Path) -> Result<Command, ServerError> {
    write(
        &folder.join("smtpd.conf"),
        "table everyone { \"@\" = nobody }\nlisten on 0.0.0.0 port 25 hostname legacy.example\n\
         action \"keep\" maildir \"/mnt/box\" virtual <everyone>\nmatch from any for any action \"keep\"\n",
    )?;
    write(&folder.join("resolv.conf"), "nameserver 127.0.0.1\n")?;
    let mailbox = folder.join("box");
    fs::create_dir_all(&mailbox).map_err(at(&mailbox))?;
    std::os::unix::fs::chown(&mailbox, Some(NOBODY), Some(NOBODY)).map_err(at(&mailbox))?;
    let script = "set -e\nmount --bind \"$1\" /mnt\nmount --bind /mnt/resolv.conf /etc/resolv.conf || :\n\
                  mount -t tmpfs tmpfs /var/spool\nmkdir -m 711 /var/spool/smtpd\nmount -t tmpfs tmpfs /run\n\
                  exec \"$2\" -d -f /mnt/smtpd.conf\n";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "mail"]).arg(folder).arg(program);
    Ok(command)
}

fn ftp(program: &Path, folder: &Path, passive: (u16, u16)) -> Result<Command, ServerError> {
    let (files, empty) = (folder.join("files"), folder.join("empty"));
    for path in [&files, &empty] {
        fs::create_dir_all(path).map_err(at(path))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).map_err(at(path))?;
    }
    write(&files.join(LEDGER), GREETING)?;
    let (first, last) = passive;
    let text = format!(
        "listen=YES\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\nno_anon_password=YES\nanon_root={}\n\
         secure_chroot_dir={}\npasv_min_port={first}\npasv_max_port={last}\nxferlog_enable=NO\n\
         cmds_denied=PASV,PORT,EPRT\nisolate=NO\nisolate_network=NO\nseccomp_sandbox=NO\n",
        files.display(),
        empty.display()
    );
    let configuration = folder.join("vsftpd.conf");
    write(&configuration, &text)?;
    let mut command = Command::new(program);
    command.arg(configuration);
    Ok(command)
}

/// The range of TCP ports that the host's service grants, for passive transfers; any port where none does.
fn passive_ports(model: &Model, host: &IpAddr) -> (u16, u16) {
    let services = model.services.iter().filter(|service| service.hosts.contains(host));
    let range = |matching: &PortMatch| match *matching {
        PortMatch::Ports { protocol: Protocol::TCP, first, last } if first != last => Some((first, last)),
        _ => None,
    };
    services.flat_map(|service| &service.ports).find_map(range).unwrap_or((1024, 65_535))
}
