//! Words of the environment in the place of options: wg-quick can pass a program none.

use std::fmt::Display;

use super::{Exit, Failure};

/// A variable of the environment.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    /// What to set it to, for who has set it to something else.
    pub(super) choices: &'static str,
}

impl Variable {
    /// Its text; empty if it is not set.
    pub(super) fn text(&self) -> String {
        std::env::var_os(self.name).unwrap_or_default().to_string_lossy().into_owned()
    }

    /// What such a text says; `None` if it is blank.
    ///
    /// # Errors
    /// It cannot be read so.
    pub(super) fn read<T, E: Display>(
        &self,
        text: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Failure> {
        let word = text.trim();
        if word.is_empty() {
            return Ok(None);
        }
        read(word).map(Some).map_err(|error| {
            let remedy = format!("unset {}, or set it to {}", self.name, self.choices);
            Failure::new(Exit::Usage, format!("{}='{text}': {error}", self.name), remedy)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIABLE: Variable = Variable { name: "TURNPIKE_TEST", choices: "a number from 0 to 255" };

    #[test]
    fn what_is_blank_says_nothing_and_what_is_wrong_is_told_with_the_remedy() {
        let read = |text| VARIABLE.read(text, str::parse::<u8>);
        assert_eq!([read("").ok(), read(" \t").ok(), read(" 7 ").ok()], [Some(None), Some(None), Some(Some(7))]);
        let failure = read("seven").expect_err("no number");
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(failure.cause, "TURNPIKE_TEST='seven': invalid digit found in string");
        assert_eq!(failure.remedy, "unset TURNPIKE_TEST, or set it to a number from 0 to 255");
    }

    #[test]
    fn a_variable_is_one_of_this_process() {
        assert!(!Variable { name: "PATH", choices: "folders" }.text().is_empty());
        assert!(VARIABLE.text().is_empty());
    }
}
