//! A gateway that is killed at any point of an apply, a confirmation or a rollback, while legacy hosts talk.
//!
//! Whatever was cut short, the kernel has the rules of the one bundle or of the other, nothing forbidden arrives, and after the
//! next start what is in force is what the kernel does.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use turnpike::lab::guard::{Process, skip, wait_until};

use crate::forbidden::Forbidden;
use crate::place::{Build, CLAIMS4, PATIENCE, Place};
use crate::talk::{echo, reaches};

/// How soon an allowed flow passes again after the start.
const BACK: Duration = Duration::from_secs(8);

fn kills() -> u32 {
    std::env::var("TURNPIKE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// Generations of even numbers agree on nothing, and have a guardrail.
fn build(generation: u64) -> Build {
    let odd = !generation.is_multiple_of(2);
    Build { generation, agreed: odd, guarded: !odd, ..Build::default() }
}

/// What the kernel has at a gateway, without what counts and expires.
fn shape(place: &Place, gateway: &str) -> Option<String> {
    let listed = place.namespace(gateway).run("nft", ["list", "table", "inet", "turnpike"]).ok()?;
    let is_number = |word: &str| word.trim_end_matches(',').bytes().all(|octet| octet.is_ascii_digit());
    let words = |line: &str| line.split_whitespace().filter(|word| !is_number(word)).collect::<Vec<_>>().join(" ");
    let lines = listed.lines().filter(|line| !line.contains("expires")).map(words);
    // A guardrail's counter outlives it until the next load in full, and decides nothing.
    let decides = |line: &String| !line.starts_with("counter ") && !["packets bytes", "}", ""].contains(&line.as_str());
    Some(lines.filter(decides).collect::<Vec<_>>().join("\n"))
}

struct Trial<'a> {
    place: &'a Place,
    /// What the kernel has of an odd generation and of an even one.
    shapes: [String; 2],
    generation: u64,
    random: u64,
}

impl Trial<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        // Knuth's MMIX; its high bits are good enough for a moment in time.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    /// Asks something of the gateway, from a session of its own, and does not wait.
    fn ask(&self, words: &[&str]) -> std::process::Child {
        let mut command = std::process::Command::new("setsid");
        command.args(["--wait", env!("CARGO_BIN_EXE_turnpike"), "gateway"]).args(words);
        command.arg("--state").arg(self.place.state("leeds-1"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs")
    }

    /// Applies the next generation, confirms it or not, and kills the gateway somewhere in between.
    fn kill(&mut self, mut gateway: Process) -> Process {
        let before = self.generation;
        self.place.build(build(before + 1));
        let apply = ["apply", "--confirm-within", "60s", "--deny-all-intended"];
        let words: [&[&str]; 2] = [&apply, if self.below(2) == 0 { &["confirm"] } else { &["rollback"] }];
        let cut = usize::try_from(self.below(2)).expect("few");
        for asked in &words[..cut] {
            assert!(self.ask(asked).wait().expect("it ends").success(), "{asked:?} after {before}");
        }
        let mut child = self.ask(words[cut]);
        let moment = Instant::now() + Duration::from_micros(self.below(120_000));
        wait_until(Duration::from_secs(1), || Instant::now() >= moment);
        gateway.signal(Signal::SIGKILL).expect("killed");
        assert!(gateway.wait(PATIENCE).is_some());
        child.wait().expect("it ends");
        let dead = shape(self.place, "leeds-1").expect("the table stays");
        assert!(self.shapes.contains(&dead), "a mixture after {before}, {:?}:\n{dead}", words[cut]);
        let again = self.place.start("leeds-1");
        let now = self.place.status("leeds-1").configuration.generation;
        assert!([before, before + 1].contains(&now), "{now} after {before}");
        let place = self.place;
        let found = shape(place, "leeds-1").expect("a table");
        assert!(
            found == self.shapes[usize::from(now.is_multiple_of(2))],
            "generation {now} is in force, and the kernel has\n{found}"
        );
        let since = Instant::now();
        // Only leeds changes its mind: bradford goes on by the first bundle.
        let passes = !now.is_multiple_of(2);
        if passes {
            assert!(
                wait_until(BACK, || reaches(&place.benefits, CLAIMS4, 443)),
                "not back after {:?}",
                since.elapsed()
            );
        }
        self.end_trial();
        again
    }

    /// Leaves nothing on trial, and the generation in force as the one to go on from.
    fn end_trial(&mut self) {
        let place = self.place;
        let on_trial = |place: &Place| place.status("leeds-1").conditions.iter().any(|it| it.id == "on-trial");
        if on_trial(place) {
            assert!(self.ask(&["confirm"]).wait().expect("it ends").success());
        }
        assert!(!on_trial(place));
        self.generation = place.status("leeds-1").configuration.generation;
    }
}

#[test]
fn killed_at_any_point_it_has_the_one_bundle_or_the_other_and_lets_nothing_forbidden_pass() {
    if skip("killed_at_any_point_it_has_the_one_bundle_or_the_other_and_lets_nothing_forbidden_pass") {
        return;
    }
    let place = Place::new();
    let [_hub, leeds, _bradford] = place.up();
    echo(&place.claims, 443);
    let odd = shape(&place, "leeds-1").expect("a table");
    place.build(build(2));
    let command = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_turnpike"));
        command.arg("gateway").args(words).arg("--state").arg(place.state("leeds-1")).output().expect("it runs")
    };
    assert!(command(&["apply", "--confirm-within", "60s"]).status.success());
    let even = shape(&place, "leeds-1").expect("a table");
    assert!(command(&["rollback"]).status.success());
    assert_eq!(shape(&place, "leeds-1").as_ref(), Some(&odd), "a rollback brings all of it back");
    assert_ne!(odd, even);
    let forbidden = Forbidden::send(&place);
    let seed = u64::from(std::process::id());
    let mut trial = Trial { place: &place, shapes: [odd, even], generation: 1, random: seed };
    let mut gateway = leeds;
    for _ in 0..kills() {
        gateway = trial.kill(gateway);
    }
    let told = forbidden.told();
    println!("{} kills from seed {seed}, {} forbidden datagrams, {} arrived", kills(), told.sent, told.arrived);
    assert!(told.sent > 1000 && told.arrived == 0);
    forbidden.control(&place);
}
