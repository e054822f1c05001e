//! Keeps the manual and the papers consistent with the program.

pub(crate) mod claims;
pub(crate) mod samples;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::skip::{Need, needs};
use crate::support::under_test::binary;

/// Has the map of the code.
const ARCHITECTURE: &str = "ARCHITECTURE.md";

pub(crate) const MANUAL: &str = "man/tcpreen.1";

type Words = BTreeSet<String>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The lines of a section of the manual, macros included.
#[track_caller]
fn section(title: &str) -> Vec<String> {
    let manual = read(MANUAL);
    let lines = manual.lines().skip_while(|line| *line != format!(".Sh {title}")).skip(1);
    let lines: Vec<String> = lines.take_while(|line| !line.starts_with(".Sh ")).map(str::to_owned).collect();
    assert!(!lines.is_empty(), "no section {title}");
    lines
}

fn help() -> String {
    let output = Command::new(binary()).arg("--help").output().expect("the program under test runs");
    String::from_utf8(output.stdout).expect("text")
}

/// Words after `start` on the line of `--help` that begins with it.
#[track_caller]
fn listed(help: &str, start: &str) -> Words {
    let list = help.lines().find_map(|line| line.strip_prefix(start)).expect("a list");
    list.split_whitespace().map(str::to_owned).collect()
}

/// Names of an option in `-a, --accept <ADDR>     listen … [alias: --bind]`.
fn options_in_help(help: &str) -> Words {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let names = lines.flat_map(|line| {
        let (names, description) = line.split_once("  ").unwrap_or((line, ""));
        let aliases = description.split_once("[alias").map_or("", |(_, aliases)| aliases);
        names.split([' ', ',']).chain(aliases.split([' ', ',', ']']))
    });
    // A value that may be left out stands in brackets.
    let names = names.filter_map(|name| name.split('[').next());
    names.filter(|name| name.starts_with('-')).map(str::to_owned).collect()
}

/// Names of an option in `.It Fl a Ar addr , Fl -accept Ar addr`.
fn options_in_manual() -> Words {
    let mut options = Words::new();
    for line in section("OPTIONS").iter().filter(|line| line.starts_with(".It Fl ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let names = words.windows(2).filter(|pair| pair[0] == "Fl");
        options.extend(names.map(|pair| format!("-{}", pair[1])));
    }
    options
}

/// Words that a section marks as literal, and its headings.
fn keywords(section: &[String]) -> Words {
    let lines =
        section.iter().filter(|line| [".Cm ", ".It Cm ", ".Ss "].iter().any(|it| line.starts_with(it)));
    lines.flat_map(|line| line.split_whitespace()).map(str::to_owned).collect()
}

/// Quoted words in a line of source.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2)
}

/// Files below `folder`, as paths relative to the root.
fn files_below(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root()).expect("below the root").to_owned());
            }
        }
    }
    found
}

#[test]
fn the_manual_has_the_options_of_the_program_and_no_others() {
    let options = options_in_help(&help());
    assert!(options.contains("-o") && options.contains("--max"), "{options:?}");
    assert_eq!(options_in_manual(), options, "left: {MANUAL}; right: --help");
}

/// Options that act by themselves have a line of their own there.
#[test]
fn the_synopsis_has_every_option() {
    let synopsis = section("SYNOPSIS").join("\n");
    let bundled =
        synopsis.lines().find_map(|line| line.strip_prefix(".Op Fl ")).expect("options without values");
    let missing: Vec<String> = section("OPTIONS")
        .iter()
        .filter_map(|line| line.strip_prefix(".It Fl ")?.split_whitespace().next().map(str::to_owned))
        .filter(|name| match name.strip_prefix('-') {
            None => !bundled.contains(name) && !synopsis.contains(&format!("Fl {name}")),
            Some(_) => !synopsis.lines().any(|line| line.split_whitespace().any(|word| word == name)),
        })
        .collect();
    assert!(missing.is_empty(), "not in the synopsis of {MANUAL}: {missing:?}");
}

/// Options and formats that 1.4.4 had, from its own manual.
#[test]
fn every_option_and_format_that_1_4_4_did_not_have_is_among_the_differences() {
    const OPTIONS: &str = "-a --accept --bind -b --bytes -c --connect -d --daemon -F --fork -f --format -h --help -l \
                           --listen -m --max --maxconn -n --numeric -o --output -p --protocol -q --quiet -s --server \
                           -u --user -V --version -v --verbose";
    const FORMATS: &str = "C hex count null raw password strip";
    let differences = section("DIFFERENCES FROM 1.4.4").join("\n");
    let words: BTreeSet<&str> = differences.split_whitespace().collect();
    let old: BTreeSet<&str> = OPTIONS.split_whitespace().collect();
    let options = options_in_manual();
    let new = options.iter().filter(|option| !old.contains(option.as_str()));
    let untold: Vec<&String> = new.filter(|option| !words.contains(&option[1..])).collect();
    assert!(untold.is_empty(), "new options: {untold:?}");
    let formats = listed(&help(), "Formats: ");
    let (_, new) = differences.split_once("The formats\n").expect("new formats");
    let new: BTreeSet<&str> = new.split_once("are new").expect("their end").0.split_whitespace().collect();
    let mut untold = formats.iter().filter(|format| !FORMATS.contains(format.as_str()));
    assert!(untold.all(|format| new.contains(format.as_str())), "{new:?} of {formats:?}");
}

/// In each of the three places that list them.
#[test]
fn the_manual_names_the_formats_whose_files_are_private() {
    let source = read("src/format.rs");
    let (_, source) = source.split_once("fn is_private").expect("the function");
    let list = source.split("matches!(self, ").nth(1).and_then(|it| it.split(")\n").next()).expect("formats");
    let private: Words = list
        .split('|')
        .map(|name| name.trim().trim_start_matches("Format::").split('(').next().unwrap_or_default())
        .map(str::to_lowercase)
        .collect();
    assert!(private.contains("json"), "{private:?}");
    let manual = read(MANUAL);
    for (start, end) in [
        ("the umask leaves of 0666; those of\n", "with 0600."),
        ("Only in the formats\n", "are files made for their owner alone;"),
    ] {
        let (_, list) = manual.split_once(start).expect("a sentence");
        let (list, _) = list.split_once(end).expect("its end");
        let words = list.split_whitespace().filter(|word| word.chars().all(char::is_alphanumeric));
        let named: Words = words.filter(|word| !["Cm", "and"].contains(word)).map(str::to_owned).collect();
        assert_eq!(named, private, "{start:?}");
    }
}

#[test]
fn the_manual_counts_the_formats() {
    const NUMBERS: [&str; 16] = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
        "twelve", "thirteen", "fourteen", "fifteen",
    ];
    let number = NUMBERS[listed(&help(), "Formats: ").len()];
    let description = section("DESCRIPTION").join(" ");
    assert!(description.contains(&format!("in one of {number} formats")), "{number}");
}

#[test]
fn the_manual_has_every_exit_status_and_no_others() {
    let source = read("src/exit.rs");
    let numbers = source.lines().filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "));
    let statuses: BTreeSet<u8> = numbers.filter_map(|(_, number)| number.parse().ok()).collect();
    assert!(statuses.contains(&64), "{statuses:?}");
    let section = section("EXIT STATUS");
    let items: Vec<&str> = section.iter().filter_map(|line| line.strip_prefix(".It ")).collect();
    let documented: BTreeSet<u8> = items.iter().filter_map(|item| item.parse().ok()).collect();
    assert!(items.contains(&"0") && items.contains(&"128+n"), "{items:?}");
    assert_eq!(&documented - &BTreeSet::from([0]), statuses, "left: {MANUAL}; right: src/exit.rs");
}

#[test]
fn the_manual_has_every_format_under_all_its_names() {
    let source = read("src/format.rs");
    let names: Words = source
        .lines()
        .filter(|line| line.trim_start().starts_with("Format::") && line.contains("=> &["))
        .flat_map(quoted)
        .map(str::to_owned)
        .collect();
    assert!(names.contains("hexa"), "{names:?}");
    let section = section("OUTPUTS AND FORMATS");
    let documented = keywords(&section);
    assert_eq!(&names - &documented, Words::new(), "not in {MANUAL}");
    for format in listed(&help(), "Formats: ") {
        let samples = section.iter().skip_while(|line| **line != format!(".Ss {format}")).skip(1);
        let mut samples = samples.take_while(|line| !line.starts_with(".Ss "));
        assert!(samples.any(|line| line.starts_with(".Bd -literal")), "no sample of {format}");
    }
}

#[test]
fn the_manual_has_every_protocol_under_all_its_names() {
    let source = read("src/cli/values.rs");
    let rows = source.lines().filter(|line| line.contains("\", Family::"));
    let names: Words = rows.flat_map(quoted).map(str::to_owned).collect();
    assert!(names.contains("tcpip4"), "{names:?}");
    let documented = keywords(&section("PROTOCOLS AND ADDRESSES"));
    assert_eq!(&names - &documented, Words::new(), "not in {MANUAL}");
}

#[test]
fn the_manual_is_well_formed() {
    if !needs(&[Need::Program("mandoc")]) {
        return;
    }
    let mut mandoc = Command::new("mandoc");
    let output = mandoc.args(["-T", "lint", "-W", "warning", MANUAL]).current_dir(root()).output();
    let output = output.expect("mandoc runs");
    let complaints = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
}

#[test]
fn the_readme_begins_with_the_two_commands() {
    let readme = read("README.md");
    let fenced = readme.lines().skip_while(|line| !line.starts_with("```")).skip(1);
    let commands: Vec<&str> = fenced
        .take_while(|line| !line.starts_with("```"))
        .map(|line| line.split(" #").next().unwrap_or_default().trim())
        .filter(|command| !command.is_empty())
        .collect();
    assert_eq!(commands, ["cargo run --release -- --demo", "cargo test --workspace"]);
}

/// An entry of the layout: its subject, and every word about it, with which a folder may name its files.
struct Entry {
    about: String,
    words: Words,
}

fn layout() -> Vec<Entry> {
    let architecture = read(ARCHITECTURE);
    let (_, layout) = architecture.split_once("\n## Layout\n").expect("a section about the layout");
    let fenced = layout.split("```").nth(1).expect("a fenced list");
    let mut entries: Vec<Entry> = Vec::new();
    for line in fenced.lines().skip(1).filter(|line| !line.is_empty()) {
        let separator = |it: char| it.is_whitespace() || ",;:()".contains(it);
        let words = line.split(separator).filter(|word| !word.is_empty()).map(str::to_owned);
        if !line.starts_with(' ') {
            let about = line.split_whitespace().next().unwrap_or_default();
            entries.push(Entry { about: about.trim_end_matches(',').to_owned(), words: Words::new() });
        }
        entries.last_mut().expect("an entry before it goes on").words.extend(words);
    }
    entries
}

#[test]
fn the_layout_names_every_source_file() {
    let entries = layout();
    let is_named = |file: &Path| {
        let path = file.to_string_lossy();
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        entries.iter().any(|entry| {
            entry.words.contains(&*path)
                || (entry.about == format!("{folder}/") && entry.words.contains(name))
        })
    };
    let mut files = [files_below("src"), files_below("privsep/src")].concat();
    files.retain(|file| file.extension() == Some(OsStr::new("rs")) && !is_named(file));
    assert!(files.is_empty(), "not in the section Layout of {ARCHITECTURE}: {files:?}");
}

#[test]
fn the_layout_names_no_missing_source_file() {
    let entries = layout();
    let named = entries.iter().flat_map(|entry| {
        let in_folder = entry.about.ends_with('/').then_some(entry.about.as_str());
        entry.words.iter().filter(|word| word.ends_with(".rs")).map(move |word| match in_folder {
            Some(folder) if !word.contains('/') => root().join(folder).join(word),
            _ => root().join(word),
        })
    });
    let gone: Vec<PathBuf> = named.filter(|path| !path.exists()).collect();
    assert!(gone.is_empty(), "in the section Layout of {ARCHITECTURE}, but not in the tree: {gone:?}");
}

#[test]
fn the_layout_names_every_script_and_unit_of_contrib() {
    const KINDS: [&str; 8] = ["sh", "service", "socket", "timer", "target", "path", "mount", "slice"];
    let architecture = read(ARCHITECTURE);
    let mut files = files_below("contrib");
    files.retain(|file| {
        let kind = file.extension().and_then(OsStr::to_str);
        let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
        kind.is_some_and(|kind| KINDS.contains(&kind)) && !architecture.contains(name)
    });
    assert!(files.is_empty(), "not in the section Layout of {ARCHITECTURE}: {files:?}");
}
