//! Who is tried: a name and the command that makes a userspace interface.

use std::path::{Path, PathBuf};

use crate::bench::TURNPIKE;

/// The variable with the command of another implementation.
const GIVEN: &str = "SUBJECT_COMMAND";

/// Where `make bench` keeps the programs that it compares with.
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench/tools/bin");

/// An implementation under test.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What the table's column is called.
    pub name: String,
    /// The command with `{name}` in the place of the interface's name; the remedy if it is not installed.
    pub command: Result<Vec<String>, &'static str>,
}

impl Subject {
    /// turnpike itself.
    pub fn turnpike() -> Self {
        Self { name: "turnpike".into(), command: Ok(words(TURNPIKE, "tunnel -f {name}")) }
    }

    /// The implementation of this name: that of `SUBJECT_COMMAND` by its program's name, else one that is known.
    pub fn named(name: &str) -> Option<Self> {
        if let Some(given) = Self::given().filter(|given| given.name == name) {
            return Some(given);
        }
        let installed = |arguments: &str, remedy| {
            let command = found(name).map(|path| words(&path.to_string_lossy(), arguments)).ok_or(remedy);
            Some(Self { name: name.to_owned(), command })
        };
        match name {
            "turnpike" => Some(Self::turnpike()),
            "wireguard-go" => installed("-f {name}", "apt-get install wireguard-go, or make bench"),
            "boringtun-cli" => installed(
                "-f --disable-drop-privileges {name}",
                "cargo install --locked --root target/bench/tools boringtun-cli, or make bench",
            ),
            _ => None,
        }
    }

    /// The implementation that `SUBJECT_COMMAND` describes.
    pub fn given() -> Option<Self> {
        let text = std::env::var(GIVEN).ok()?;
        let mut command: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let program = command.iter().find(|word| *word != "env" && !word.contains('='))?;
        let name = Path::new(program).file_name()?.to_string_lossy().into_owned();
        if !text.contains("{name}") {
            command.push("{name}".into());
        }
        Some(Self { name, command: Ok(command) })
    }

    /// The command that makes the interface `device`.
    pub fn words(&self, device: &str) -> Vec<String> {
        self.command.iter().flatten().map(|word| word.replace("{name}", device)).collect()
    }
}

fn words(program: &str, arguments: &str) -> Vec<String> {
    std::iter::once(program).chain(arguments.split(' ')).map(str::to_owned).collect()
}

/// The program in the folder of `make bench`, where it is newer, else in the search path.
fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(PathBuf::from(TOOLS))
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
