//! The option `--scheduling` of whatever has a data plane, and the environment's word for it.

use clap::{Args, ValueEnum};

use super::{Exit, Failure};
use crate::dataplane::Scheduling;

/// Counts where the option is not given: wg-quick can pass a program no options.
const VARIABLE: &str = "TURNPIKE_SCHEDULING";

#[derive(Debug, Args)]
pub(super) struct Competition {
    /// How packets compete for a processor with programs on the machine [default: urgent].
    ///
    /// The environment's TURNPIKE_SCHEDULING says the same.
    #[arg(long, value_name = "CLASS")]
    scheduling: Option<Class>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Class {
    /// Under load before them (SCHED_RR), up to nine tenths of the processor; needs CAP_SYS_NICE, else as ordinary.
    Urgent,
    /// As one of them.
    Ordinary,
}

impl Competition {
    /// What the option says, else the environment.
    ///
    /// # Errors
    /// A word in the environment that means no class.
    pub(super) fn class(&self) -> Result<Scheduling, Failure> {
        let environment = std::env::var_os(VARIABLE).unwrap_or_default();
        self.or(&environment.to_string_lossy())
    }

    fn or(&self, environment: &str) -> Result<Scheduling, Failure> {
        let word = environment.trim();
        let class = match self.scheduling {
            None if !word.is_empty() => Class::from_str(word, true).map_err(|_| {
                let cause = format!("{VARIABLE}='{environment}' is no scheduling class");
                Failure::new(Exit::Usage, cause, format!("unset {VARIABLE}, or set it to 'urgent' or 'ordinary'"))
            })?,
            given => given.unwrap_or(Class::Urgent),
        };
        Ok(match class {
            Class::Urgent => Scheduling::Urgent,
            Class::Ordinary => Scheduling::Ordinary,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_counts_before_the_environment() {
        let of = |scheduling, environment| Competition { scheduling }.or(environment).ok();
        assert_eq!(of(None, ""), Some(Scheduling::Urgent));
        assert_eq!(of(None, "ordinary"), Some(Scheduling::Ordinary));
        assert_eq!(of(Some(Class::Urgent), "ordinary"), Some(Scheduling::Urgent));
        assert_eq!(of(Some(Class::Ordinary), "urgent"), Some(Scheduling::Ordinary));
    }

    #[test]
    fn a_wrong_word_in_the_environment_is_told_with_the_right_ones() {
        let failure = Competition { scheduling: None }.or("fifo").expect_err("no such class");
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.cause.contains("TURNPIKE_SCHEDULING='fifo'"), "{}", failure.cause);
        assert!(failure.remedy.contains("'ordinary'"), "{}", failure.remedy);
    }
}
