//! The command line: what `cargo test` gives to every test program, and what this one takes beside it.

use clap::Parser;

const HELP: &str = "\
Without --subjects it tries turnpike alone and prints what a test program prints. With --subjects,
and with SUBJECT_COMMAND in the environment, it prints a table, one column for each subject, and
why each scenario failed; the exit code is that of the first subject alone.

Subjects: turnpike, wireguard-go and boringtun-cli, the latter two from target/bench/tools/bin,
else from the search path. SUBJECT_COMMAND names the command of another implementation, with
{name} in the place of the interface's name (else the name is appended); it may stay in the
foreground or go to the background, and must serve /var/run/wireguard/NAME.sock.

Examples:
  make conformance
  make conformance SUBJECTS=turnpike,wireguard-go
  make conformance SUBJECT_COMMAND='wireguard-go -f {name}' SUBJECTS=wireguard-go
  cargo test --test conformance -- prefixes::
  cargo test --test conformance -- --list";

/// Conformance of userspace WireGuard implementations: what the kernel's own tests check, and hostile input.
#[derive(Debug, Parser)]
#[command(name = "conformance", after_help = HELP, disable_version_flag = true)]
pub struct Arguments {
    /// Only scenarios whose name contains one of these.
    pub filters: Vec<String>,
    /// Who is tried, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub subjects: Vec<String>,
    /// Names each scenario and runs none.
    #[arg(long)]
    pub list: bool,
    /// Only the slow scenarios, which wait for minutes.
    #[arg(long)]
    pub ignored: bool,
    /// Also the slow scenarios.
    #[arg(long)]
    pub include_ignored: bool,
    /// Filters are whole names.
    #[arg(long)]
    pub exact: bool,
    /// No scenario whose name contains this.
    #[arg(long)]
    pub skip: Vec<String>,
    /// How many light scenarios run at once.
    #[arg(long)]
    pub test_threads: Option<usize>,
    /// One scenario on the one subject, in this process.
    #[arg(long, hide = true)]
    pub one: bool,
    /// What `cargo test` may hand to every test program and what has no meaning here.
    #[command(flatten)]
    pub passed_over: PassedOver,
}

/// Options of Rust's own test runner that change nothing here.
#[derive(Debug, clap::Args)]
pub struct PassedOver {
    #[arg(long, alias = "no-capture", hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    show_output: bool,
    #[arg(long, short, hide = true)]
    quiet: bool,
    #[arg(long, hide = true)]
    color: Option<String>,
    #[arg(long, hide = true)]
    format: Option<String>,
}

impl Arguments {
    /// Whether the scenario of this name and cost is asked for.
    pub fn select(&self, name: &str, slow: bool) -> bool {
        let hits = |text: &String| if self.exact { name == text } else { name.contains(text.as_str()) };
        let asked = self.filters.is_empty() || self.filters.iter().any(hits);
        asked && !self.skip.iter().any(hits) && (!self.ignored || slow)
    }

    /// Whether slow scenarios run.
    pub fn slow(&self) -> bool {
        self.ignored || self.include_ignored
    }
}
