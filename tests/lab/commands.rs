//! `turnpike lab` as people run it: what it shows, and that it leaves nothing behind, however it ends.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use turnpike::lab::guard::{FOLDER, skip, sweep, wait_until};

/// A lab takes both cores: one at a time.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lab() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnpike"));
    command.arg("lab").current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What a lab must not change on the machine: rules, routes, devices.
fn machine() -> String {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().expect(program);
        text(&output)
    };
    [
        said("nft", &["list", "ruleset"]),
        said("ip", &["rule"]),
        said("ip", &["route", "show", "table", "all"]),
        said("ip", &["-brief", "link"]),
    ]
    .join("\n")
}

/// Namespaces' folders and processes that a process with this id has made.
fn left_by(pid: u32) -> Vec<String> {
    let mark = format!("{FOLDER}/{pid}.");
    let folders = fs::read_dir(FOLDER).into_iter().flatten().flatten().map(|entry| entry.path().display().to_string());
    let processes = fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    folders.filter(|path| path.starts_with(&mark)).chain(processes.filter(|line| line.contains(&mark))).collect()
}

/// Servers that ended and that nobody waited for. They fall to this process once it has adopted orphans.
fn servers_unburied() -> BTreeSet<String> {
    let stats = fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (name, rest) = stat.rsplit_once(") ")?;
        let ours = rest.split(' ').take(2).eq(["Z", std::process::id().to_string().as_str()]);
        ours.then(|| name.to_owned())
    });
    stats.filter(|name| ["nginx", "smtpd", "vsftpd"].iter().any(|server| name.ends_with(server))).collect()
}

/// A demonstration that has got as far as having servers.
fn demo_with_servers() -> Child {
    let child = lab().arg("demo").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("turnpike");
    let nginx = || left_by(child.id()).iter().any(|line| line.contains("nginx"));
    assert!(wait_until(Duration::from_secs(60), nginx), "no server after a minute: {:?}", left_by(child.id()));
    child
}

fn end(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), signal).expect("to be signalled");
}

#[test]
fn the_demonstration_ends_as_expected_and_leaves_nothing() {
    if skip("the_demonstration_ends_as_expected_and_leaves_nothing") {
        return;
    }
    let _turn = turn();
    set_child_subreaper(true).expect("to adopt what the demonstration leaves");
    let (before, unburied) = (machine(), servers_unburied());
    let child = lab().args(["demo", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("turnpike");
    let pid = child.id();
    let output = child.wait_with_output().expect("an end");
    assert!(output.status.success(), "{}", text(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = report["rows"].as_array().expect("rows");
    for subject in ["A-101", "A-107", "spoofed source", "revocation", "killed gateway"] {
        assert!(rows.iter().any(|row| row["subject"] == subject && row["ok"] == true), "{subject}: {}", text(&output));
    }
    for (expected, verdict) in [("allow", "allow"), ("deny", "deny")] {
        let like = |row: &&serde_json::Value| row["expected"] == expected;
        let actual = |row: &serde_json::Value| row["actual"].as_str().is_some_and(|actual| actual.starts_with(verdict));
        assert!(rows.iter().filter(like).count() > 10 && rows.iter().filter(like).all(actual));
    }
    assert_eq!(left_by(pid), Vec::<String>::new());
    assert_eq!(servers_unburied(), unburied);
    assert_eq!(machine(), before);
}

#[test]
fn a_lab_that_is_up_is_entered_described_and_taken_down() {
    if skip("a_lab_that_is_up_is_entered_described_and_taken_down") {
        return;
    }
    let _turn = turn();
    let output = lab().args(["up", "--json"]).output().expect("turnpike");
    assert!(output.status.success(), "{}", text(&output));
    let session: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let holder = u32::try_from(session["pid"].as_u64().expect("a pid")).expect("a pid");

    let claims = "http://100.65.3.20/";
    let fetch = ["exec", "benefits", "--", "curl", "-sS", "--max-time", "5", claims];
    let output = lab().args(fetch).output().expect("turnpike");
    assert!(text(&output).contains("a legacy system answers"), "{}", text(&output));
    let output =
        lab().args(["exec", "post", "--", "curl", "-sS", "--max-time", "2", claims]).output().expect("turnpike");
    assert_eq!(output.status.code(), Some(28), "exec gives the command's own exit code: {}", text(&output));
    let output = lab().args(["exec", "nobody", "--", "true"]).output().expect("turnpike");
    assert!(output.status.code() == Some(1) && text(&output).contains("benefits"), "{}", text(&output));
    let output = lab().arg("up").output().expect("turnpike");
    assert!(output.status.code() == Some(69) && text(&output).contains("lab down"), "{}", text(&output));

    let output = lab().arg("down").output().expect("turnpike");
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(left_by(holder), Vec::<String>::new());
    assert_eq!(lab().arg("status").output().expect("turnpike").status.code(), Some(69));
}

#[test]
fn ctrl_c_removes_all_of_it() {
    if skip("ctrl_c_removes_all_of_it") {
        return;
    }
    let _turn = turn();
    let mut child = demo_with_servers();
    end(&child, Signal::SIGINT);
    let status = child.wait().expect("an end");
    assert_eq!(status.signal(), Some(2), "{status}");
    assert_eq!(left_by(child.id()), Vec::<String>::new());
}

#[test]
fn what_a_killed_demonstration_leaves_is_swept() {
    if skip("what_a_killed_demonstration_leaves_is_swept") {
        return;
    }
    let _turn = turn();
    let mut child = demo_with_servers();
    end(&child, Signal::SIGKILL);
    child.wait().expect("an end");
    sweep().expect("to sweep");
    assert!(wait_until(Duration::from_secs(10), || left_by(child.id()).is_empty()), "{:?}", left_by(child.id()));
}
