//! The option `--scheduling` of whatever has a data plane, and the environment's word for it.

use clap::{Args, ValueEnum};

use super::Failure;
use super::variable::Variable;
use crate::dataplane::Scheduling;

/// Counts where the option is not given: wg-quick can pass a program no options.
const VARIABLE: Variable = Variable { name: "TURNPIKE_SCHEDULING", choices: "'urgent' or 'ordinary'" };

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
        self.or(&VARIABLE.text())
    }

    fn or(&self, environment: &str) -> Result<Scheduling, Failure> {
        let class = match self.scheduling {
            Some(class) => class,
            None => VARIABLE.read(environment, class_named)?.unwrap_or(Class::Urgent),
        };
        Ok(match class {
            Class::Urgent => Scheduling::Urgent,
            Class::Ordinary => Scheduling::Ordinary,
        })
    }
}

fn class_named(name: &str) -> Result<Class, &'static str> {
    Class::from_str(name, true).map_err(|_| "no scheduling class")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Exit;

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
