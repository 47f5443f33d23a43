//! A receiver that lags behind.

use std::net::UdpSocket as StdSocket;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use turnpike::dataplane::{Options, Scheduling};
use turnpike::lab::guard::{Namespace, skip, wait_until};

use crate::lab::{Pair, SOON};

/// The numbers of this process's threads that work in a namespace.
fn workers(within: &Namespace) -> Vec<String> {
    let identity = |task: &Path| std::fs::read_link(task.join("ns/net")).ok();
    let home = within.enter(|| identity(Path::new("/proc/thread-self"))).expect("the namespace");
    let tasks = std::fs::read_dir("/proc/self/task").expect("threads").flatten().map(|entry| entry.path());
    let works =
        |task: &Path| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("turnpike-wor"));
    tasks
        .filter(|task| identity(task) == home && works(task))
        .filter_map(|task| Some(task.file_name()?.to_str()?.to_owned()))
        .collect()
}

/// Puts threads into a scheduling class: "idle" gets what nobody else wants.
fn enter_class(threads: &[String], class: &str) {
    for thread in threads {
        let status = Command::new("chrt").args([class, "--pid", "0", thread]).status().expect("chrt, of util-linux");
        assert!(status.success(), "{class}");
    }
}

/// Sends as much as goes from left to right, for a while.
fn send_much(pair: &Pair) {
    let begun = Instant::now();
    let send = || {
        let socket = StdSocket::bind("0.0.0.0:0").expect("a port");
        while begun.elapsed() < Duration::from_millis(700) {
            // Nobody listens there, and that is reported now and then.
            socket.send_to(&[7; 1300], "10.50.0.2:9").ok();
        }
    };
    pair.left.namespace.enter(send).expect("left");
}

#[test]
fn a_receiver_that_lags_behind_lets_its_senders_know() {
    if skip("a_receiver_that_lags_behind_lets_its_senders_know") {
        return;
    }
    let options = Options { scheduling: Scheduling::Ordinary, ..Options::default() };
    let pair = Pair::with(options, "192.0.2.1:51820", "192.0.2.2:51820");
    assert!(pair.left.reaches("10.50.0.2"));
    let workers = workers(&pair.right.namespace);
    assert!(!workers.is_empty());
    let congested = || pair.right.drops("congested");
    // Now and then a packet: whatever else this machine does meanwhile, none of them says so.
    assert!((0..50).all(|_| pair.left.reaches("10.50.0.2")));
    assert_eq!(congested(), 0, "canary: nothing stands");

    enter_class(&workers, "--idle");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        send_much(&pair);
        stop.store(true, Ordering::Relaxed);
    });
    enter_class(&workers, "--other");
    assert!(wait_until(SOON, || congested() > 0), "what waited for more than 40 ms was told so");
    assert!(pair.left.reaches("10.50.0.2"));
}
