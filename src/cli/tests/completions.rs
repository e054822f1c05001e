//! Checks that contrib/completions is what the parser generates.

use std::path::{Path, PathBuf};
use std::{env, fs};

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, ValueHint};
use clap_complete::{Shell, generate};

use crate::cli::command::{NAME, command};
use crate::cli::values;
use crate::format::TimeForm;

/// Rewrites the files if set.
const BLESS: &str = "TCPREEN_BLESS";

const SHELLS: [(Shell, &str); 3] =
    [(Shell::Bash, "tcpreen.bash"), (Shell::Zsh, "_tcpreen"), (Shell::Fish, "tcpreen.fish")];

/// Words that bash completes by itself. They pass through the generator as file names.
const KNOWN_TO_BASH: [&str; 2] = ["hostname", "user"];

/// The generator's and the corrected way to find the previous word: bash splits an option and its value at
/// the equals sign and makes a word of the sign.
const BASH_PREVIOUS: &str = "    prev=\"$3\"\n";
const BASH_PREVIOUS_OR_OPTION: &str = "    prev=\"$3\"
    if [[ \"${prev}\" == \"=\" ]]; then
        prev=\"${COMP_WORDS[COMP_CWORD - 2]}\"
    elif [[ \"${cur}\" == \"=\" ]]; then
        cur=\"\"
    fi
";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/completions").join(name)
}

fn generated(shell: Shell) -> String {
    let mut script = Vec::new();
    let mut command = hinted(shell).no_binary_name(false);
    generate(shell, &mut command, NAME, &mut script);
    let script = String::from_utf8(script).expect("text").replace(BASH_PREVIOUS, BASH_PREVIOUS_OR_OPTION);
    // `SERVERPORT` is optional only with `--read`. Where every position is optional, zsh takes an option for the
    // beginning of a file's name, too, and completes neither.
    let script = script.replace("'::SERVERPORT", "':SERVERPORT");
    KNOWN_TO_BASH.iter().fold(script, |script, known| {
        script.replace(&format!(r#"compgen -W "@{known}""#), &format!("compgen -A {known}"))
    })
}

/// The parser's options, with hints about their values.
fn hinted(shell: Shell) -> Command {
    command().mut_args(|arg| match arg.get_value_names() {
        Some([name]) => {
            let name = name.to_string();
            hint(shell, arg, &name)
        }
        _ => arg,
    })
}

fn hint(shell: Shell, arg: Arg, value: &str) -> Arg {
    let words = |arg: Arg, words: &[&'static str]| arg.value_parser(PossibleValuesParser::new(words));
    match (value, shell) {
        ("FORMAT", _) => words(arg, &values::format_names()),
        ("FORM", _) => words(arg, &TimeForm::ALL.map(TimeForm::name)),
        ("SIDE", _) => words(arg, &["client", "server", "both"]),
        ("PEER", _) => words(arg, &["client", "server"]),
        ("PACE", _) => words(arg, &["turns", "time", "fast"]),
        ("MODE", _) => words(arg, &["kill", "log"]),
        ("WHEN", _) => words(arg, &["auto", "always", "never"]),
        ("HOW", _) => words(arg, &["write", "sync"]),
        ("WHAT", _) => words(arg, &["logins", "all"]),
        ("LEVEL", _) => words(arg, &["full", "basic"]),
        ("PROTO", _) => words(arg, &values::protocol_names()),
        ("HOST" | "ADDR", Shell::Bash) => words(arg, &["@hostname"]),
        ("HOST" | "ADDR", _) => arg.value_hint(ValueHint::Hostname),
        ("USER", Shell::Bash) => words(arg, &["@user"]),
        ("USER", _) => arg.value_hint(ValueHint::Username),
        // A port can be the path of a socket.
        ("FILE" | "SERVERPORT" | "LOCALPORT", _) => arg.value_hint(ValueHint::FilePath),
        _ => arg.value_hint(ValueHint::Other),
    }
}

#[test]
fn the_completions_are_those_of_the_parser() {
    for (shell, name) in SHELLS {
        let script = generated(shell);
        if env::var_os(BLESS).is_some() {
            fs::write(file(name), &script).expect("a file of ours can be written");
        }
        let kept = fs::read_to_string(file(name)).unwrap_or_default();
        assert!(
            kept == script,
            "contrib/completions/{name} is not what the options are now: \
             run `{BLESS}=1 cargo test --lib completions` and commit it"
        );
    }
}
