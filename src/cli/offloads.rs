//! The option `--without-offload` of whatever has a data plane, and the environment's word for it.

use clap::Args;

use super::Failure;
use super::variable::Variable;
use crate::dataplane::{Offloads, UnknownOffload};

/// Adds to the option: wg-quick can pass a program no options.
const VARIABLE: Variable =
    Variable { name: "TURNPIKE_WITHOUT_OFFLOADS", choices: "names of that list, separated by commas" };

#[derive(Debug, Args)]
pub(super) struct Switches {
    /// Do without an offload of the kernel's, to find a fault or to get around one: tun_tso, tun_uso, tun_tcp_gro,
    /// tun_udp_gro, udp_gso, udp_gro, or all; several with commas or by giving the option again.
    ///
    /// Packets then pass one by one there, at more cost. What the kernel lacks or refuses is done without in any case.
    #[arg(long, value_name = "NAME", value_parser = without)]
    without_offload: Vec<Offloads>,
}

fn without(names: &str) -> Result<Offloads, UnknownOffload> {
    Offloads::ALL.without_named(names)
}

impl Switches {
    /// What is left by the option and the environment.
    ///
    /// # Errors
    /// A name in the environment that no offload has.
    pub(super) fn offloads(&self) -> Result<Offloads, Failure> {
        self.left(&VARIABLE.text())
    }

    fn left(&self, environment: &str) -> Result<Offloads, Failure> {
        let wanted = self.without_offload.iter().copied().fold(Offloads::ALL, Offloads::and);
        Ok(VARIABLE.read(environment, |names| wanted.without_named(names))?.unwrap_or(wanted))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Exit;
    use crate::dataplane::Offload;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        switches: Switches,
    }

    fn given(words: &[&str]) -> Result<Switches, clap::Error> {
        Program::try_parse_from(["program"].iter().chain(words)).map(|program| program.switches)
    }

    #[test]
    fn the_option_and_the_environment_add_up() {
        let left = |words, environment| given(words).expect("good words").left(environment).ok();
        let without = |offloads: &[Offload]| Some(offloads.iter().copied().fold(Offloads::ALL, Offloads::without));
        assert_eq!(left(&[], ""), Some(Offloads::ALL));
        assert_eq!(left(&["--without-offload", "udp_gso,tun_uso"], " "), without(&[Offload::UdpGso, Offload::TunUso]));
        let twice = ["--without-offload", "udp_gso", "--without-offload=tun_uso"];
        let all_three = without(&[Offload::UdpGso, Offload::TunUso, Offload::UdpGro]);
        assert_eq!(left(&twice, "udp_gro,udp_gso"), all_three);
        assert_eq!(left(&twice, "all"), Some(Offloads::NONE));
    }

    #[test]
    fn a_wrong_name_is_told_with_the_right_ones() {
        let error = given(&["--without-offload", "udp_gso,gso"]).expect_err("no such offload").to_string();
        assert!(error.contains("'gso'") && error.contains("udp_gso") && error.contains("'all'"), "{error}");
        let failure = given(&[]).expect("nothing").left("tso").expect_err("no such offload");
        assert_eq!(failure.exit, Exit::Usage);
        for word in [VARIABLE.name, "'tso'", "tun_tso", "'all'"] {
            assert!(failure.cause.contains(word), "{}", failure.cause);
        }
        assert!(failure.remedy.contains("unset"), "{}", failure.remedy);
    }

    #[test]
    fn the_help_names_every_offload() {
        let mut command = <Program as clap::CommandFactory>::command();
        let help = command.render_help().to_string();
        for offload in Offload::ALL {
            assert!(help.contains(offload.label()), "{help}");
        }
    }
}
