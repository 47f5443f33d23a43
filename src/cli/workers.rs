//! The option `--workers` of whatever has a data plane, and the environment's word for it.

use clap::Args;

use super::Failure;
use super::variable::Variable;
use crate::dataplane::MOST_WORKERS;

/// In the option's place: wg-quick can pass a program no options.
const VARIABLE: Variable = Variable { name: "TURNPIKE_WORKERS", choices: "a number from 0 to 8" };

#[derive(Debug, Args)]
pub(super) struct Crew {
    /// How many threads share the peers, 1 to 8; 0, as without this option, for one fewer than there are processors, but
    /// at least 1.
    ///
    /// A peer belongs to one of them, so it takes several busy peers to use several.
    #[arg(long, value_name = "NUMBER", value_parser = number)]
    workers: Option<u8>,
}

fn number(text: &str) -> Result<u8, String> {
    let number = text.trim().parse().ok().filter(|number| *number <= MOST_WORKERS);
    number.ok_or_else(|| format!("'{text}' is no number of workers: 1 to {MOST_WORKERS}, or 0 to suit the machine"))
}

impl Crew {
    /// The number by the option, else by the environment, else 0.
    ///
    /// # Errors
    /// What the environment says is no number of workers.
    pub(super) fn workers(&self) -> Result<u8, Failure> {
        self.chosen(&VARIABLE.text())
    }

    fn chosen(&self, environment: &str) -> Result<u8, Failure> {
        match self.workers {
            Some(workers) => Ok(workers),
            None => Ok(VARIABLE.read(environment, number)?.unwrap_or(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Exit;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        crew: Crew,
    }

    fn given(words: &[&str]) -> Result<Crew, clap::Error> {
        Program::try_parse_from(["program"].iter().chain(words)).map(|program| program.crew)
    }

    #[test]
    fn the_option_goes_before_the_environment() {
        let chosen = |words, environment| given(words).expect("good words").chosen(environment).ok();
        assert_eq!(chosen(&[], ""), Some(0));
        assert_eq!(chosen(&[], " 3 "), Some(3));
        assert_eq!(chosen(&["--workers", "2"], "3"), Some(2));
        assert_eq!(chosen(&["--workers=0"], "3"), Some(0));
        assert_eq!(chosen(&["--workers=8"], "many"), Some(8));
    }

    #[test]
    fn a_wrong_number_is_told_with_the_right_ones() {
        for wrong in ["9", "-1", "two", "1.5", "", "99999999999"] {
            let error = given(&[&format!("--workers={wrong}")]).expect_err(wrong).to_string();
            assert!(error.contains("1 to 8"), "{error}");
        }
        for wrong in ["9", "many"] {
            let failure = given(&[]).expect("nothing").chosen(wrong).expect_err(wrong);
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.cause.contains(VARIABLE.name) && failure.cause.contains(&format!("'{wrong}'")));
            assert!(failure.remedy.contains("unset") && failure.remedy.contains("0 to 8"), "{}", failure.remedy);
        }
    }

    #[test]
    fn the_help_names_the_limit() {
        let mut command = <Program as clap::CommandFactory>::command();
        let help = command.render_help().to_string();
        assert!(help.contains(&format!("1 to {MOST_WORKERS};")), "{help}");
    }
}
