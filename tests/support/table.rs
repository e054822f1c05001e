//! Markdown tables that name tests, and the check that those tests exist.

use std::fs;
use std::path::Path;

/// Returns the rows of a table, cell by cell: the lines of `text` that begin with `start`.
pub fn rows<'a>(text: &'a str, start: &str) -> Vec<Vec<&'a str>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(start));
    lines.map(|line| line.trim_end_matches([' ', '|']).split(" | ").map(str::trim).collect()).collect()
}

/// Parses the number at the start of a cell.
#[track_caller]
pub fn number(cell: &str) -> u32 {
    let word = cell.split(' ').next().unwrap_or_default();
    word.parse().unwrap_or_else(|_| panic!("{cell:?} begins with a number"))
}

/// Fails unless `file`, a path from the top of the tree, contains the test.
#[track_caller]
pub fn expect_test(file: &str, test: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let source = fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let found = is_a_function(&source, test) || is_in_a_list(&source, test);
    assert!(found, "no test {test:?} in {file}");
}

/// Checks for a test of a binary without libtest, which lists its tests.
fn is_in_a_list(source: &str, test: &str) -> bool {
    source.contains(&format!("\"{test}\","))
}

fn is_a_function(source: &str, test: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let declaration = format!("fn {test}(");
    let declared = lines.iter().enumerate().filter(|(_, line)| line.starts_with(&declaration));
    declared.into_iter().any(|(at, _)| {
        let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        attributes.into_iter().any(|attribute| *attribute == "#[test]")
    })
}
