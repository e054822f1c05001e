//! Tests of the contracts of [`crate::sys`]: every function is safe to call with any arguments.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crate::sys::{Alone, duplicate_above, inherited, replace_streams};

const SOURCE: &str = include_str!("sys.rs");

/// Functions that take any numbers as descriptors. Each has a test below.
const CHECKED: [&str; 3] = ["duplicate_above", "inherited", "replace_streams"];

/// Signatures of the public functions: name, and all up to the body.
fn public_functions() -> Vec<(&'static str, &'static str)> {
    let starts = SOURCE.match_indices("pub fn ").map(|(at, start)| &SOURCE[at + start.len()..]);
    let signatures = starts.map(|rest| rest.split('{').next().expect("a body"));
    signatures.map(|it| (it.split(['(', '<']).next().expect("a name"), it)).collect()
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|character: char| !character.is_alphanumeric() && character != '_').any(|it| it == word)
}

#[test]
fn no_public_function_takes_an_unchecked_descriptor_or_address() {
    let functions = public_functions();
    assert!(functions.len() > 30, "{functions:?}");
    let named = |is_it: fn(&str) -> bool| {
        let mut names: Vec<&str> = functions.iter().filter(|it| is_it(it.1)).map(|it| it.0).collect();
        names.sort_unstable();
        names
    };
    let parameters = |it: &str| it.split("->").next().expect("parameters").to_owned();
    assert_eq!(named(|it| has_word(it.split("->").next().unwrap_or(""), "RawFd")), CHECKED);
    assert!(
        functions.iter().all(|it| !parameters(it.1).contains("*const") && !parameters(it.1).contains("*mut"))
    );
    assert!(!SOURCE.contains("pub unsafe fn"), "it would need a test of its contract");
    // Functions that are undefined with other threads take the proof that there are none.
    assert_eq!(named(|it| it.contains("&Alone")), ["forget_variables", "fork"]);
    let public: Vec<&str> = functions.iter().map(|it| it.0).collect();
    for inner in ["move_to", "fork_with", "fork_with_common_root", "close_from"] {
        assert!(!public.contains(&inner), "{inner}");
    }
}

#[test]
fn a_descriptor_is_taken_over_once_and_only_without_an_owner() {
    let file = File::open("/dev/null").expect("a device");
    for owned in [0, 1, 2, file.as_raw_fd(), -1, 1 << 20] {
        assert!(inherited(owned).is_err(), "{owned}");
    }
    // The state after exec: not close-on-exec, and without an owner.
    let number = nix::unistd::dup(&file).expect("a copy").into_raw_fd();
    let taken = inherited(number).expect("the first owner");
    assert!(inherited(number).is_err(), "a second owner");
    drop(taken);
    assert!(inherited(number).is_err(), "closed");
}

#[test]
fn a_copy_has_a_number_that_was_free() {
    let file = File::open("/dev/null").expect("a device");
    assert!(duplicate_above(file.as_fd(), file.as_raw_fd()).expect("a copy").as_raw_fd() > file.as_raw_fd());
    assert!(duplicate_above(file.as_fd(), -1).is_err());
}

#[test]
fn only_standard_streams_are_replaced() {
    let file = File::open("/dev/null").expect("a device");
    for streams in [3..=3, 0..=file.as_raw_fd().max(3), -1..=0] {
        let replaced = catch_unwind(AssertUnwindSafe(|| replace_streams(file.as_fd(), streams.clone())));
        assert!(replaced.is_err(), "{streams:?}");
    }
}

/// Compiles only for types that cannot be sent to another thread: others have two implementations.
trait StaysInItsThread<Marker> {
    fn check() {}
}

impl<T: ?Sized> StaysInItsThread<()> for T {}
impl<T: ?Sized + Send> StaysInItsThread<u8> for T {}

#[test]
fn the_proof_of_one_thread_is_refused_with_two_and_stays_in_its_thread() {
    <Alone as StaysInItsThread<_>>::check();
    let there = thread::spawn(|| Alone::check().is_err());
    assert!(there.join().expect("an end"), "there are two threads");
}
