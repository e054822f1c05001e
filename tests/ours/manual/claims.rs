//! Sentences of the manual, word for word, and the test that fails if one of them is false. A sentence that changes has to
//! change here, too, with its test.
//!
//! The table is in claims.txt.

use crate::ours::manual::MANUAL;
use crate::ours::manual::read;
use crate::support::table;

/// Macros whose names are no text.
const MACROS: [&str; 21] = [
    "Ar", "Cm", "Dl", "Dv", "Em", "Ev", "Ic", "It", "Li", "No", "Ns", "Op", "Pa", "Pc", "Po", "Pq", "Ql",
    "Sx", "Ta", "Xc", "Xr",
];

/// Text of the manual without its mark-up, with single blanks.
fn text() -> String {
    let manual =
        read(MANUAL).replace("\\(aq", "'").replace("\\-", "-").replace("\\e", "\\").replace("\\&", "");
    let mut words = Vec::new();
    for line in manual.lines().filter(|line| !line.starts_with(".\\")) {
        match line.strip_prefix('.') {
            None => words.extend(line.split_whitespace().map(str::to_owned)),
            Some(line) => words.extend(words_of_macros(line)),
        }
    }
    let text = words.join(" ");
    let text = [",", ".", ";", ":", ")"].iter().fold(text, |text, it| text.replace(&format!(" {it}"), it));
    text.replace("( ", "(")
}

/// `Fl m , Ql x` has the words `-m`, `,` and `x`.
fn words_of_macros(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let is_parenthesis = line.starts_with("Pq");
    if is_parenthesis {
        words.push("(".to_owned());
    }
    let mut is_option = false;
    for token in line.split_whitespace() {
        match token {
            "Fl" => is_option = true,
            "Nm" => words.push("tcpreen".to_owned()),
            _ if MACROS.contains(&token) => {}
            _ if is_option && token != "," => {
                words.push(format!("-{token}"));
                is_option = false;
            }
            _ => words.push(token.trim_matches('"').to_owned()),
        }
    }
    if is_parenthesis {
        words.push(")".to_owned());
    }
    words
}

#[test]
fn every_sentence_is_in_the_manual_and_its_test_exists() {
    let text = text();
    let rows = table::rows(include_str!("claims.txt"), "| ");
    let rows: Vec<_> = rows.into_iter().filter(|row| row[0] != "sentence").collect();
    let mut gone = Vec::new();
    for row in &rows {
        let [sentence, file, test] = row[..] else { panic!("three cells: {row:?}") };
        table::expect_test(file, test);
        if !text.contains(sentence) {
            gone.push(sentence);
        }
    }
    assert!(gone.is_empty(), "not in {MANUAL}: {gone:#?}");
    println!("{} sentences", rows.len());
}
