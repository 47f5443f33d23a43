//! `scripts/packages` starts no server, and puts back what it found.
//!
//! The first tests run it on stand-ins for dpkg and apt, so that what apt would meet is seen; the last runs a real
//! server's installation step again.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use turnpike::lab::guard::skip;

/// A machine with nothing installed, where `apt-get install` asks the policy as a package's script would.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new(apt_succeeds: bool) -> Self {
        let machine = Self { folder: TempDir::new().expect("a folder") };
        let answer = machine.path("answer");
        let policy = machine.policy();
        let end = if apt_succeeds { 0 } else { 100 };
        let ask = format!(
            "case \"$*\" in *install*) {policy} nginx start; echo $? > {answer}; exit {end};; esac",
            policy = policy.display(),
            answer = answer.display()
        );
        machine.program("apt-get", &ask);
        machine.program("apt-cache", "echo '  Candidate: 1.0'");
        machine.program("dpkg-query", "exit 1");
        machine.program("dpkg", "exit 0");
        machine.program("id", "echo 0");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn policy(&self) -> PathBuf {
        self.path("policy-rc.d")
    }

    fn program(&self, name: &str, body: &str) {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an executable");
    }

    fn run(&self, mode: &str, no_install: bool) -> Output {
        let path = format!("{}:{}", self.folder.path().display(), std::env::var("PATH").expect("a path"));
        let mut command = Command::new(script());
        command.arg(mode).env("PATH", path).env("POLICY_RC_D", self.policy()).env_remove("NO_INSTALL");
        if no_install {
            command.env("NO_INSTALL", "1");
        }
        command.output().expect("the script")
    }

    /// What the policy answered while apt installed.
    fn answer(&self) -> Option<String> {
        fs::read_to_string(self.path("answer")).ok().map(|text| text.trim().to_owned())
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/packages")
}

#[test]
fn while_apt_installs_starting_a_server_is_forbidden_and_afterwards_nothing_is_left() {
    let machine = Machine::new(true);
    let output = machine.run("lab", false);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(machine.answer().as_deref(), Some("101"));
    assert!(!machine.policy().exists());
    assert!(String::from_utf8_lossy(&output.stdout).contains("installed: "));
}

#[test]
fn a_policy_that_was_there_is_put_back_also_when_apt_fails() {
    for succeeds in [true, false] {
        let machine = Machine::new(succeeds);
        machine.program("policy-rc.d", "exit 0");
        let before = fs::read_to_string(machine.policy()).expect("the machine's own");
        let output = machine.run("test", false);
        assert_eq!(output.status.code(), Some(if succeeds { 0 } else { 69 }), "{output:?}");
        assert_eq!(machine.answer().as_deref(), Some("101"));
        assert_eq!(fs::read_to_string(machine.policy()).expect("put back"), before);
    }
}

#[test]
fn no_install_lists_what_is_missing_and_touches_nothing() {
    let machine = Machine::new(true);
    let output = machine.run("lab", true);
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nginx"));
    assert_eq!(machine.answer(), None);
}

#[test]
fn installing_a_real_server_starts_none_on_this_machine() {
    if skip("installing_a_real_server_starts_none_on_this_machine") {
        return;
    }
    let before = servers_of_this_machine();
    let output = Command::new(script())
        .args(["quietly", "dpkg-reconfigure", "--frontend=noninteractive", "vsftpd"])
        .output()
        .expect("the script");
    assert!(output.status.success(), "{output:?}");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let refused = said.contains("policy-rc.d denied execution");
    // Where systemd runs, deb-systemd-invoke asks the policy and says so in other words, or nothing at all.
    assert!(refused || Path::new("/run/systemd/system").exists(), "nobody asked the policy: {said}");
    assert_eq!(servers_of_this_machine(), before);
}

/// Processes of the lab's servers that stand in this test's own network namespace.
fn servers_of_this_machine() -> BTreeSet<u32> {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let own = namespace("self");
    let pids = fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let server = |pid: &String| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        ["nginx", "smtpd", "vsftpd", "iperf3"].contains(&name.trim()) && namespace(pid) == own
    };
    pids.filter(server).filter_map(|pid| pid.parse().ok()).collect()
}
