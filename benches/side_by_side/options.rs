//! What a run consists of: by arguments and the environment, so that `make bench ONLY=relay ROUNDS=3` works.

use std::time::Duration;

use crate::subject::Subject;

/// A group of measures that are taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// One TCP stream through the hub.
    Relay,
    /// One TCP stream between two endpoints.
    Direct,
    /// Small packets through the hub.
    Small,
    /// Echoes between two endpoints, without and with a TCP stream.
    Ping,
    /// 388 active peers of a hub, of 500 configured.
    Many,
    /// 5,000 configured peers.
    Configured,
    /// Handshakes of very many peers while data flows.
    Handshakes,
    /// One TCP stream between legacy hosts through gateways: turnpike alone.
    Gateways,
}

impl Section {
    /// Those of `make bench`.
    pub const SHORT: [Self; 4] = [Self::Relay, Self::Direct, Self::Small, Self::Ping];
    /// Those of `make bench-long`.
    pub const LONG: [Self; 4] = [Self::Many, Self::Configured, Self::Handshakes, Self::Gateways];

    /// Its name in `ONLY`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Direct => "direct",
            Self::Small => "small",
            Self::Ping => "ping",
            Self::Many => "many",
            Self::Configured => "configured",
            Self::Handshakes => "handshakes",
            Self::Gateways => "gateways",
        }
    }
}

/// What to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The groups of measures.
    pub sections: Vec<Section>,
    /// The programs.
    pub subjects: Vec<Subject>,
    /// How often each program is measured.
    pub rounds: usize,
    /// No further round begins when it would probably end later than this.
    pub limit: Duration,
}

/// `make bench` takes no longer than ten minutes.
const SHORT_LIMIT: Duration = Duration::from_secs(9 * 60);
const LONG_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Rounds where nothing else is asked.
pub const ROUNDS: usize = 5;

impl Options {
    /// Reads arguments (`long`; what cargo passes is skipped) and variables (`ONLY`, `SUBJECTS`, `ROUNDS`).
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn read(
        arguments: impl IntoIterator<Item = String>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let (mut all, mut limit) = (Section::SHORT.to_vec(), SHORT_LIMIT);
        for argument in arguments {
            match argument.as_str() {
                "--bench" => {}
                "long" => (all, limit) = (Section::LONG.to_vec(), LONG_LIMIT),
                other => return Err(format!("'{other}' is not understood; 'long' is all that can be given")),
            }
        }
        let given = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let sections = match given("ONLY") {
            None => all,
            Some(list) => words(&list).map(|word| section(word, &all)).collect::<Result<_, _>>()?,
        };
        let subjects = match given("SUBJECTS") {
            None => Subject::ALL.to_vec(),
            Some(list) => words(&list).map(subject).collect::<Result<_, _>>()?,
        };
        let rounds = match given("ROUNDS") {
            None => ROUNDS,
            Some(text) => match text.trim().parse() {
                Ok(rounds @ 1..=100) => rounds,
                Ok(_) | Err(_) => return Err(format!("ROUNDS={text} is no number from 1 to 100")),
            },
        };
        Ok(Self { sections, subjects, rounds, limit })
    }

    /// Whether this group is asked for.
    pub fn has(&self, section: Section) -> bool {
        self.sections.contains(&section)
    }
}

/// The subjects of round `round`, each round beginning with another one, so that none profits from its place.
pub fn rotation(subjects: &[Subject], round: usize) -> Vec<Subject> {
    let first = if subjects.is_empty() { 0 } else { round % subjects.len() };
    subjects.iter().cycle().skip(first).take(subjects.len()).copied().collect()
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(|letter: char| letter == ',' || letter.is_whitespace()).filter(|word| !word.is_empty())
}

fn section(word: &str, all: &[Section]) -> Result<Section, String> {
    let known = || all.iter().map(|section| section.name()).collect::<Vec<_>>().join(", ");
    all.iter()
        .copied()
        .find(|section| section.name() == word)
        .ok_or_else(|| format!("ONLY={word} is not one of {}", known()))
}

fn subject(word: &str) -> Result<Subject, String> {
    let known = || Subject::ALL.map(Subject::name).join(", ");
    Subject::of(word).ok_or_else(|| format!("SUBJECTS={word} is not one of {}", known()))
}
