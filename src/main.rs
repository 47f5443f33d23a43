//! Parses, dispatches, exits: everything else is in the library.

fn main() -> turnpike::cli::Exit {
    turnpike::cli::main()
}
