//! Checks that every command line in the manual and the README is valid.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::parse_words;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Command lines of the manual: `$ tcpreen …` in a display, or `#` for root.
fn in_the_manual() -> Vec<String> {
    let manual = read("man/tcpreen.1").replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\");
    let lines = manual.lines().filter_map(|line| line.strip_prefix("$ ").or(line.strip_prefix("# ")));
    lines.filter(|line| line.starts_with("tcpreen ")).map(str::to_owned).collect()
}

/// Command lines of the README: between backticks, or as a line of a block.
fn in_the_readme() -> Vec<String> {
    let readme = read("README.md");
    let pieces = readme.split(['`', '\n']).map(|piece| piece.strip_prefix("sudo ").unwrap_or(piece));
    pieces.filter(|piece| piece.starts_with("tcpreen -")).map(str::to_owned).collect()
}

/// Splits a command as a shell does, up to a comment, a redirection or `&`.
fn arguments(command: &str) -> Vec<OsString> {
    let words = command.split(' ').skip(1).filter(|word| !word.is_empty());
    let ours = words.take_while(|word| !word.starts_with(['#', '>', '&', '|']));
    ours.map(|word| word.trim_matches('\'').into()).collect()
}

/// A copied example must not open a port to all networks, except in examples about that.
#[test]
fn examples_of_the_readme_are_for_this_host() {
    let open: Vec<String> = in_the_readme()
        .into_iter()
        .filter(|command| !["--read", "--diff", "--replay", "--help"].iter().any(|it| command.contains(it)))
        .filter(|command| !command.contains("127.0.0.1:8080") && !command.contains("-a 127.0.0.1"))
        .collect();
    assert_eq!(open, ["tcpreen -u nobody -s backend 80 80"]);
}

#[test]
fn every_command_line_in_the_documents_makes_sense() {
    let (manual, readme) = (in_the_manual(), in_the_readme());
    assert!(manual.len() > 15 && readme.len() > 6, "{manual:#?} {readme:#?}");
    for command in manual.iter().chain(&readme) {
        let meaning = parse_words(arguments(command));
        assert!(meaning.is_ok(), "{command}: {meaning:?}");
    }
}
