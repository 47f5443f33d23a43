//! What a run consists of: by arguments and the environment, so that `make bench-policy ONLY=check ROUNDS=3` works.

/// A group of measures that are taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Check, resolve and compile.
    Check,
    /// The difference of two definitions.
    Diff,
    /// Explain.
    Explain,
    /// First load on a hub, one agreement less and one more.
    Load,
    /// Hours of many agreements that begin or end.
    Boundary,
    /// Applies under traffic.
    Traffic,
    /// From a revocation to the flow's last packet.
    Revoke,
    /// What a relay forwards under 100,000 elements and under 10.
    Relay,
}

impl Section {
    /// All of them, in the order in which they are taken.
    pub const ALL: [Self; 8] =
        [Self::Check, Self::Diff, Self::Explain, Self::Load, Self::Boundary, Self::Traffic, Self::Revoke, Self::Relay];

    /// Its name in `ONLY`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Diff => "diff",
            Self::Explain => "explain",
            Self::Load => "load",
            Self::Boundary => "boundary",
            Self::Traffic => "traffic",
            Self::Revoke => "revoke",
            Self::Relay => "relay",
        }
    }
}

/// What to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The groups of measures.
    pub sections: Vec<Section>,
    /// How often what takes seconds is measured.
    pub rounds: usize,
    /// Whether to print JSON instead of a table.
    pub json: bool,
    /// The folder that this process is to check alone: what the benchmark asks of another process of its own.
    pub child: Option<String>,
    /// The folder that it is to compare that one with instead.
    pub beside: Option<String>,
}

impl Options {
    /// Reads arguments (`--json`; what cargo passes is skipped) and variables (`ONLY`, `ROUNDS`).
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn read(
        arguments: impl IntoIterator<Item = String>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let given = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let sections = match given("ONLY") {
            None => Section::ALL.to_vec(),
            Some(list) => {
                list.split([',', ' ']).filter(|word| !word.is_empty()).map(section).collect::<Result<_, _>>()?
            }
        };
        let rounds = match given("ROUNDS").map(|text| text.trim().parse()) {
            None => 5,
            Some(Ok(rounds @ 1..=100)) => rounds,
            Some(_) => return Err("ROUNDS is a number from 1 to 100".to_owned()),
        };
        let mut options = Self { sections, rounds, json: false, child: None, beside: None };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => {}
                "--json" => options.json = true,
                "--child" => options.child = arguments.next(),
                "--beside" => options.beside = arguments.next(),
                other => return Err(format!("'{other}' is not understood; '--json' is all that can be given")),
            }
        }
        Ok(options)
    }
}

fn section(word: &str) -> Result<Section, String> {
    let known = || Section::ALL.map(Section::name).join(", ");
    Section::ALL
        .into_iter()
        .find(|section| section.name() == word)
        .ok_or_else(|| format!("ONLY={word} is not one of {}", known()))
}
