//! Types the completions of contrib/completions in real shells.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::terminal::terminal;
use crate::support::wait::until;

/// Bound to a key in each shell: prints the line and empties it.
const SHOW: &str = "\x18s";

/// A shell on its own terminal.
struct Shell {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
}

impl Shell {
    /// Starts it and waits for its prompt, `READY> `.
    fn start(mut command: Command) -> Self {
        let terminal = terminal();
        let end = || terminal.slave.try_clone().expect("a descriptor");
        command.env("TERM", "dumb").stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("the shell starts");
        drop((command, terminal.slave));
        let keyboard = File::from(terminal.master);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut source, shown) = (keyboard.try_clone().expect("a descriptor"), Arc::clone(&screen));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = source.read(&mut buffer) {
                shown.lock().expect("no panic").push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        let shell = Shell { child, keyboard, screen };
        until("a prompt", || shell.screen.lock().expect("no panic").contains("READY> ").then_some(()));
        shell
    }

    /// Returns the line after `typed` and the tabulator key.
    fn complete(&mut self, typed: &str) -> String {
        self.screen.lock().expect("no panic").clear();
        write!(self.keyboard, "{typed}\t{SHOW}").expect("keys are hit");
        until("the completed line", || {
            let screen = self.screen.lock().expect("no panic");
            let (_, line) = screen.split_once("LINE<")?;
            Some(line.split_once('>')?.0.to_owned())
        })
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Completes prefixes that have a single completion.
fn expect_completions(mut shell: Shell, scratch: &Scratch) {
    let file = scratch.path("only-one");
    fs::write(&file, "").expect("a file");
    let file = file.to_str().expect("a path in UTF-8");
    let cases = [
        ("--form", "--format"),
        ("--idle", "--idle-timeout"),
        ("-f cou", "-f count"),
        ("--format pass", "--format password"),
        ("--format=pass", "--format=password"),
        ("--only cl", "--only client"),
        ("--sandbox lo", "--sandbox log"),
        ("--color alw", "--color always"),
        ("--require-sandbox fu", "--require-sandbox full"),
        ("-p uni", "-p unix"),
        ("-u nobod", "-u nobody"),
        ("-s bridge-", "-s bridge-of-tests"),
        (&format!("-o {}", &file[..file.len() - 3]), &format!("-o {file}")),
    ];
    for (typed, completed) in cases {
        let line = shell.complete(&format!("tcpreen {typed}"));
        // Some shells append a blank, some an equals sign.
        assert_eq!(line.trim_end_matches([' ', '=']), format!("tcpreen {completed}"), "{typed}");
    }
}

fn shell(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", program]).args(args);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/completions"));
    command
}

#[test]
fn bash_completes_options_and_values() {
    if !needs(&[Need::Program("bash"), Need::Program("setsid")]) {
        return;
    }
    let scratch = Scratch::new();
    fs::write(scratch.path("hosts"), "192.0.2.1 bridge-of-tests\n").expect("a file");
    let start = r#"
        PS1='READY> '
        HOSTFILE=$SCRATCH/hosts
        shown() { echo "LINE<$READLINE_LINE>"; READLINE_LINE=; READLINE_POINT=0; }
        bind -x '"\C-xs": shown'
        source ./tcpreen.bash
    "#;
    fs::write(scratch.path("rc"), start).expect("a file");
    let mut bash = shell("bash", &["--noprofile", "--rcfile"]);
    bash.arg(scratch.path("rc")).arg("-i").env("SCRATCH", scratch.path(""));
    expect_completions(Shell::start(bash), &scratch);
}

#[test]
fn zsh_completes_options_and_values() {
    if !needs(&[Need::Program("zsh"), Need::Program("setsid")]) {
        return;
    }
    let scratch = Scratch::new();
    let start = r#"
        PS1='READY> '
        shown() { print -r -- "LINE<$BUFFER>"; BUFFER= }
        zle -N shown
        bindkey '^Xs' shown
        zstyle ':completion:*' hosts bridge-of-tests
        fpath=($PWD $fpath)
        autoload -U compinit
        compinit -u -D
    "#;
    fs::write(scratch.path(".zshrc"), start).expect("a file");
    let mut zsh = shell("zsh", &["--no-global-rcs", "-i"]);
    zsh.env("ZDOTDIR", scratch.path(""));
    expect_completions(Shell::start(zsh), &scratch);
}

#[test]
fn fish_completes_options_and_values() {
    if !needs(&[Need::Program("fish"), Need::Program("setsid")]) {
        return;
    }
    let scratch = Scratch::new();
    let start = r#"
        function fish_prompt; echo -n 'READY> '; end
        function shown; echo "LINE<"(commandline)">"; commandline ''; end
        bind \cxs shown
        function __fish_print_hostnames; echo bridge-of-tests; end
        source ./tcpreen.fish
    "#;
    let mut fish = shell("fish", &["--no-config", "--init-command", start, "-i"]);
    fish.env("HOME", scratch.path("")).env("XDG_DATA_HOME", scratch.path("data"));
    fish.env("TMPDIR", scratch.path(""));
    expect_completions(Shell::start(fish), &scratch);
}
