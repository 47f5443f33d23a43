//! Runs scenarios, each in a process of its own, so that one that hangs or dies takes nothing along.
//!
//! ```text
//!  jobs ─┬─ those that wait ─▶ 12 at once ─┐
//!        ├─ light ───────────▶  4 at once ─┴─▶ then those that need the machine alone ─▶ outcomes
//!        └─ each: this program with --one, ended when its time is up; what it printed is the reason
//! ```

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use turnpike::lab::guard::{sweep, wait_for};

use crate::rig::Rig;
use crate::scenario::{Cost, Scenario};
use crate::subject::Subject;

/// Scenarios at once that wait.
const SLEEPERS: usize = 12;

/// One scenario on one subject.
pub struct Job<'a> {
    pub scenario: &'static Scenario,
    pub subject: &'a Subject,
}

/// What became of a job.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How long it took.
    pub took: Duration,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// Runs all jobs and gives their outcomes in the same order; `report` is told of each as it ends.
pub fn run(jobs: &[Job<'_>], threads: usize, report: &(impl Fn(&Job<'_>, &Outcome) + Sync)) -> Vec<Outcome> {
    let outcomes: Vec<Mutex<Option<Outcome>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let work = |costs: &[Cost], threads: usize| {
        // The longest first.
        let of = |cost: &Cost| (0..jobs.len()).filter(move |at| jobs[*at].scenario.cost == *cost).collect::<Vec<_>>();
        let chosen: Vec<usize> = costs.iter().flat_map(of).collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads.min(chosen.len()) {
                scope.spawn(|| {
                    while let Some(&at) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let outcome = run_apart(&jobs[at]);
                        report(&jobs[at], &outcome);
                        *outcomes[at].lock().expect("no panic") = Some(outcome);
                    }
                });
            }
        });
    };
    std::thread::scope(|scope| {
        scope.spawn(|| work(&[Cost::Slow, Cost::Waits], SLEEPERS));
        work(&[Cost::Light], threads);
    });
    work(&[Cost::Alone], 1);
    outcomes.into_iter().map(|outcome| outcome.into_inner().expect("no panic").expect("every job ran")).collect()
}

/// Runs a job in a process of its own.
fn run_apart(job: &Job<'_>) -> Outcome {
    let began = Instant::now();
    let (mut said, mut complained) = (tempfile::tempfile().expect("a file"), tempfile::tempfile().expect("a file"));
    let mut child = start(job, &said, &complained);
    let limit = job.scenario.cost.limit();
    let ended = wait_for(limit, || child.try_wait().ok().flatten());
    if ended.is_none() {
        child.kill().and_then(|()| child.wait()).expect("ended");
        // Its namespaces, with what runs in them, belong to nobody now.
        sweep().expect("swept");
    }
    // The reason first.
    let said = format!("{}\n{}", read(&mut complained), read(&mut said)).trim().to_owned();
    let failure = match ended {
        Some(status) if status.success() => None,
        Some(status) if said.is_empty() => Some(status.to_string()),
        Some(_) => Some(said),
        None => Some(format!("ended after {} s: it hangs\n{said}", limit.as_secs())),
    };
    Outcome { took: began.elapsed(), failure }
}

fn read(file: &mut File) -> String {
    let mut octets = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut octets)).expect("what it printed");
    String::from_utf8_lossy(&octets).trim().to_owned()
}

fn start(job: &Job<'_>, said: &File, complained: &File) -> Child {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["--one", "--exact", "--subjects", &job.subject.name, &job.scenario.full_name()]);
    let (out, err) = (said.try_clone().expect("a descriptor"), complained.try_clone().expect("a descriptor"));
    // The pipe tells the child when this process is gone.
    command.stdin(Stdio::piped()).stdout(out).stderr(err);
    command.spawn().expect("a process")
}

/// Runs one scenario here; a panic is its failure.
pub fn run_here(scenario: &Scenario, subject: Subject) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|at| format!("{}:{}: ", at.file(), at.line())).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("a panic without words");
        eprintln!("{place}{text}");
    }));
    std::thread::spawn(|| {
        // Ends with the pipe, and that with the process at its other end.
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        std::process::abort();
    });
    (scenario.run)(&Rig::new(subject));
    ExitCode::SUCCESS
}
