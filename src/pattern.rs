//! `--match`: a regular expression over the bytes of a stream, which arrives in pieces. The only module that uses
//! regex-automata.
//!
//! A stream is searched by an automaton that is built at the start and reads every byte once, so that a match may lie
//! across any number of pieces, no expression is slow, and the memory of a stream is one number. `\w`, `\d` and `\b`
//! are those of ASCII.

use std::ops::Range;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;
use regex_automata::{Input, meta};

/// Maximum length of an expression in bytes; it must fit into one message.
pub(crate) const LONGEST: usize = 1024;

/// Maximum size of an automaton in bytes. A larger one takes long to build.
const LARGEST: usize = 4 << 20;

pub(crate) struct Pattern {
    automaton: dense::DFA<Vec<u32>>,
    start: StateID,
    /// Finds the places of matches within a piece.
    places: meta::Regex,
}

/// State of the search in a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Search {
    At(StateID),
    Found,
    /// No continuation can match.
    Over,
}

impl Pattern {
    /// Compiles an expression. The error is text for the operator.
    pub(crate) fn new(expression: &str) -> Result<Pattern, String> {
        if !(1..=LONGEST).contains(&expression.len()) {
            return Err(format!("{} bytes are not between 1 and {LONGEST}", expression.len()));
        }
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let limits = meta::Config::new().utf8_empty(false).nfa_size_limit(Some(LARGEST));
        let places = meta::Regex::builder().syntax(syntax).configure(limits).build(expression);
        let places = places.map_err(|error| reason(&error))?;
        let too_large = || format!("the automaton of the expression takes more than {} MiB", LARGEST >> 20);
        let automaton = dense::Builder::new()
            .configure(
                dense::Config::new()
                    .start_kind(StartKind::Unanchored)
                    .dfa_size_limit(Some(LARGEST))
                    .determinize_size_limit(Some(2 * LARGEST)),
            )
            .syntax(syntax)
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(LARGEST)))
            .build(expression)
            .map_err(|_| too_large())?;
        let start = automaton.start_state_forward(&Input::new(b"")).map_err(|_| too_large())?;
        Ok(Pattern { automaton, start, places })
    }

    /// Starts the search at the beginning of a stream.
    pub(crate) fn search(&self) -> Search {
        self.judged(self.start)
    }

    /// Continues the search with the next bytes of a stream.
    pub(crate) fn read(&self, search: Search, bytes: &[u8]) -> Search {
        let Search::At(mut state) = search else { return search };
        for &byte in bytes {
            state = self.automaton.next_state(state, byte);
            if self.automaton.is_special_state(state) {
                if self.automaton.is_match_state(state) {
                    return Search::Found;
                }
                if self.automaton.is_dead_state(state) || self.automaton.is_quit_state(state) {
                    return Search::Over;
                }
            }
        }
        self.judged(state)
    }

    /// Completes the search at the end of a stream.
    pub(crate) fn end(&self, search: Search) -> Search {
        match search {
            Search::At(state) if self.automaton.is_match_state(self.automaton.next_eoi_state(state)) => {
                Search::Found
            }
            Search::At(_) => Search::Over,
            search => search,
        }
    }

    /// Result of the search in this state. The automaton reports a match one byte late, because the next byte may
    /// matter (`\b`, `$`). It does not matter if the match stands before a letter, a sign and a line end alike.
    fn judged(&self, state: StateID) -> Search {
        let stands = |byte| self.automaton.is_match_state(self.automaton.next_state(state, byte));
        if b"a-\n".iter().all(|&byte| stands(byte)) { Search::Found } else { Search::At(state) }
    }

    /// Matches within `bytes`, from left to right, without empty ones.
    pub(crate) fn places<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
        self.places.find_iter(bytes).map(|found| found.range()).filter(|range| !range.is_empty())
    }
}

/// Returns the last line of a syntax error: the others show the place in the expression.
fn reason(error: &meta::BuildError) -> String {
    match error.syntax_error() {
        Some(syntax) => {
            let text = syntax.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
        None => format!("the expression takes more than {} MiB", LARGEST >> 20),
    }
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pattern").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(expression: &str) -> Pattern {
        Pattern::new(expression).expect("an expression")
    }

    fn is_found(search: Search) -> bool {
        matches!(search, Search::Found)
    }

    /// Returns whether the expression was found before the end of the stream, and at its end.
    fn found(expression: &str, pieces: &[&[u8]]) -> (bool, bool) {
        let pattern = pattern(expression);
        let search = pieces.iter().fold(pattern.search(), |search, piece| pattern.read(search, piece));
        (is_found(search), is_found(pattern.end(search)))
    }

    #[test]
    fn a_match_is_found_with_its_last_byte_in_whatever_pieces_it_comes() {
        for (expression, text) in [
            ("ping", "a ping"),
            ("p.*g", "ping"),
            ("(?i)USER \\w+", "user b"),
            ("\\xff\\x00", "\u{0}"),
            ("^GET", "GET"),
        ] {
            let text = if text == "\u{0}" { b"a\xff\x00".as_slice() } else { text.as_bytes() };
            for cut in 0..=text.len() {
                let (first, second) = text.split_at(cut);
                assert!(found(expression, &[first, second]).0, "{expression} {cut}");
            }
            assert!(!found(expression, &[&text[..text.len() - 1]]).1, "{expression}");
        }
    }

    #[test]
    fn anchors_are_those_of_the_stream() {
        assert_eq!(found("^b", &[b"a", b"b"]), (false, false), "a piece is not a beginning");
        assert_eq!(found("a$", &[b"a"]), (false, true), "more may follow");
        assert_eq!(found("a$", &[b"a", b"b"]), (false, false));
        assert_eq!(found("(?m)a$", &[b"a", b"\n"]), (true, true));
        assert_eq!(found("\\bcat\\b", &[b"the cat"]), (false, true));
        assert_eq!(found("\\bcat\\b", &[b"the cat", b"alogue"]), (false, false));
        assert_eq!(found("\\bcat\\b", &[b"the cat", b"."]), (true, true));
    }

    #[test]
    fn what_cannot_be_used_is_an_error_with_its_reason() {
        let error = |expression: &str| Pattern::new(expression).expect_err("an error");
        assert_eq!(error("a("), "unclosed group");
        assert!(error("").contains("between 1 and 1024"));
        assert!(error(&"a".repeat(1025)).contains("1025 bytes"));
        assert!(error("(a{1000}){1000}").contains("MiB"));
        assert!(error("(a|b)*a(a|b){30}").contains("automaton"), "2^30 states");
        assert!(error("\\pL").contains("Unicode"), "{}", error("\\pL"));
    }

    #[test]
    fn places_within_a_piece() {
        let places: Vec<_> = pattern("b*").places(b"abbab").collect();
        assert_eq!(places, [1..3, 4..5]);
    }

    proptest! {
        /// A stream in pieces has the same matches as in one piece.
        #[test]
        fn pieces_do_not_matter(text in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'\n'), any::<u8>()], 0..60),
                                cuts in proptest::collection::vec(0usize..60, 0..6),
                                which in 0usize..6) {
            let expression = ["ab+a", "^a", "b$", "(?m)^b$", "\\ba", "a[^b]{2}b|bb"][which];
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let mut at = 0;
            let pieces: Vec<&[u8]> = cuts.into_iter().map(|cut| { let piece = &text[at..cut]; at = cut; piece }).collect();
            let whole = regex::bytes::RegexBuilder::new(expression).unicode(false).build().expect("an expression");
            prop_assert_eq!(found(expression, &pieces).1, whole.is_match(&text));
        }
    }
}
