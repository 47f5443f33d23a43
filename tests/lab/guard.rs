//! The namespace guard.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use turnpike::lab::guard::{FOLDER, GuardError, Namespace, bridge, skip, sweep, veth, wait_for, wait_until};

const SOON: Duration = Duration::from_secs(10);

fn sleeper(namespace: &Namespace) -> Command {
    let mut command = namespace.command("sh");
    // The grandchild is what the parent-death signal does not reach.
    command.args(["-c", "sleep 600 & echo started $!; wait"]);
    command
}

#[test]
fn dropping_a_namespace_ends_all_that_runs_in_it_and_removes_its_pin() {
    if skip("dropping_a_namespace_ends_all_that_runs_in_it_and_removes_its_pin") {
        return;
    }
    let namespace = Namespace::new("drop").expect("a namespace");
    let mut process = namespace.spawn(sleeper(&namespace)).expect("a shell");
    assert!(wait_until(SOON, || namespace.processes().len() == 2), "{}", process.log());
    let (path, pids) = (namespace.path(), namespace.processes());
    assert!(path.exists());
    drop(namespace);
    assert!(process.wait(SOON).is_some());
    assert!(!path.parent().expect("a folder").exists());
    for pid in pids {
        assert!(wait_until(SOON, || !runs(pid)), "process {pid} is left");
    }
}

#[test]
fn dropping_a_process_ends_it_alone() {
    if skip("dropping_a_process_ends_it_alone") {
        return;
    }
    let namespace = Namespace::new("process").expect("a namespace");
    let other = namespace
        .spawn({
            let mut c = namespace.command("sleep");
            c.arg("600");
            c
        })
        .expect("a sleep");
    let process = namespace
        .spawn({
            let mut c = namespace.command("sleep");
            c.arg("600");
            c
        })
        .expect("a sleep");
    let pid = i32::try_from(process.pid()).expect("a pid");
    drop(process);
    assert!(!runs(pid));
    assert!(runs(i32::try_from(other.pid()).expect("a pid")));
}

#[test]
fn a_process_outlives_the_thread_that_spawned_it() {
    if skip("a_process_outlives_the_thread_that_spawned_it") {
        return;
    }
    let namespace = Namespace::new("thread").expect("a namespace");
    let mut process = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                namespace
                    .spawn({
                        let mut c = namespace.command("sleep");
                        c.arg("600");
                        c
                    })
                    .expect("a sleep")
            })
            .join()
            .expect("no panic")
    });
    // The signal would come at the thread's end, which has been.
    assert!(process.wait(Duration::from_millis(200)).is_none());
}

#[test]
fn two_namespaces_joined_by_wire_and_bridge_reach_each_other_in_both_families() {
    if skip("two_namespaces_joined_by_wire_and_bridge_reach_each_other_in_both_families") {
        return;
    }
    let [left, wan, right] = ["left", "wan", "right"].map(|label| Namespace::new(label).expect("a namespace"));
    veth(&left, "eth0", &wan, "left").expect("a wire");
    veth(&right, "eth0", &wan, "right").expect("a wire");
    for (namespace, last) in [(&left, 1), (&right, 2)] {
        namespace.address("eth0", &format!("192.0.2.{last}/24")).expect("an address");
        namespace.address("eth0", &format!("2001:db8::{last}/64")).expect("an address");
    }
    assert!(left.run("ping", ["-c1", "-W1", "192.0.2.2"]).is_err(), "there is no bridge yet");
    bridge(&wan, "br0", &["left", "right"]).expect("a bridge");
    left.run("ping", ["-c1", "-W2", "192.0.2.2"]).expect("an answer");
    left.run("ping", ["-c1", "-W2", "2001:db8::2"]).expect("an answer");
}

#[test]
fn what_is_entered_or_set_stays_in_the_namespace() {
    if skip("what_is_entered_or_set_stays_in_the_namespace") {
        return;
    }
    let namespace = Namespace::new("enter").expect("a namespace");
    let host = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("a sysctl");
    let other = if host.trim() == "1" { "0" } else { "1" };
    namespace.sysctl("net.ipv4.ip_forward", other).expect("to be set");
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("a sysctl"), host);
    let read = || fs::read_to_string("/proc/sys/net/ipv4/ip_forward");
    assert_eq!(namespace.enter(read).expect("to enter").expect("a sysctl").trim(), other);

    let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:0")).expect("to enter").expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    namespace.run("socat", ["-u", "OPEN:/dev/null", &format!("TCP:127.0.0.1:{port}")]).expect("a connection");
}

#[test]
fn a_failed_command_tells_what_it_said() {
    if skip("a_failed_command_tells_what_it_said") {
        return;
    }
    let namespace = Namespace::new("failed").expect("a namespace");
    let Err(GuardError::Failed { command, output, .. }) = namespace.ip("link set nothing up") else {
        panic!("there is no such device");
    };
    assert_eq!(command, "ip link set nothing up");
    assert!(output.contains("nothing"), "{output}");
}

/// The test starts itself again as the creator that is killed.
#[test]
fn what_a_killed_creator_leaves_is_swept() {
    const VICTIM: &str = "TURNPIKE_TEST_VICTIM";
    if skip("what_a_killed_creator_leaves_is_swept") {
        return;
    }
    if std::env::var_os(VICTIM).is_some() {
        let namespace = Namespace::new("victim").expect("a namespace");
        let process = namespace.spawn(sleeper(&namespace)).expect("a shell");
        wait_until(Duration::from_secs(600), || false);
        drop(process);
        return;
    }
    let mut victim = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "guard::what_a_killed_creator_leaves_is_swept", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::null())
        .spawn()
        .expect("this test again");
    let folder = wait_for(SOON, || folder_of(victim.id())).expect("its namespace");
    let log = folder.join("1.log");
    let grandchild = wait_for(SOON, || started(&log)).expect("its grandchild");
    assert!(folder.exists() && runs(grandchild));
    kill(Pid::from_raw(i32::try_from(victim.id()).expect("a pid")), Signal::SIGKILL).expect("to be killed");
    victim.wait().expect("to have ended");
    // Any test beside this one may have swept already.
    sweep().expect("to sweep");
    assert!(wait_until(SOON, || !folder.exists()));
    assert!(wait_until(SOON, || !runs(grandchild)));
}

fn folder_of(pid: u32) -> Option<PathBuf> {
    let entries = fs::read_dir(FOLDER).ok()?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{pid}."))))
}

fn started(log: &Path) -> Option<i32> {
    fs::read_to_string(log).ok()?.strip_prefix("started ")?.trim().parse().ok()
}

/// Whether a process lives; one that nobody has waited for yet does not.
fn runs(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| Some(stat.rsplit_once(')')?.1.trim_start().starts_with(['Z', 'X'])))
        .is_some_and(|dead| !dead)
}
