//! `--demo`: what it shows of the processes, and where it leaves its record.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};

use nix::unistd::Uid;

use crate::support::nobody;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};

/// Rows of the table by role, with their words.
#[track_caller]
fn rows(shown: &str) -> BTreeMap<String, Vec<String>> {
    let table = shown.lines().skip_while(|line| !line.trim_start().starts_with("process ")).skip(1);
    let rows = table.map_while(|line| line.strip_prefix("    tcpreen: "));
    let cells =
        rows.map(|row| row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned));
    cells
        .map(|cells| {
            let cells: Vec<String> = cells.collect();
            (cells[0].clone(), cells)
        })
        .collect()
}

#[track_caller]
fn shown(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).expect("text")
}

/// Each process has a cell in each column, however long its numbers are, and the cell of Landlock is about that.
#[track_caller]
fn expect_table(shown: &str, uid: u32) {
    let rows = rows(shown);
    let roles: Vec<&str> = rows.keys().map(String::as_str).collect();
    assert_eq!(roles, ["logger", "parent", "resolver", "worker", "zygote"], "{shown}");
    for (role, cells) in rows {
        let [_, pid, user, capabilities, no_new_privs, seccomp, landlock] = &cells[..] else {
            panic!("{role} has {} cells: {cells:?}", cells.len());
        };
        assert!(pid.parse::<u32>().is_ok(), "{cells:?}");
        assert_eq!(*user, uid.to_string(), "{cells:?}");
        assert_eq!([capabilities.as_str(), no_new_privs, seccomp], ["none", "1", "filter"], "{cells:?}");
        let known = ["full (ABI ", "partial (ABI ", "none"].iter().any(|word| landlock.starts_with(word));
        assert!(known, "{role}: {landlock}");
    }
}

#[test]
fn the_demonstration_shows_every_process_and_leaves_its_record() {
    let scratch = Scratch::new();
    let program = scratch.copy_of_program(0o755);
    let shown = shown(
        Command::new(&program).arg("--demo").env("TMPDIR", scratch.path("")).output().expect("it runs"),
    );
    let user = if Uid::effective().is_root() { nobody().0 } else { Uid::effective() };
    expect_table(&shown, user.as_raw());
    let record = shown.lines().find_map(|line| line.strip_prefix("The record is in ")).expect("a place");
    assert!(record.starts_with(&scratch.path("tcpreen-demo-").display().to_string()), "{record}");
    let text = fs::read_to_string(record).expect("the record");
    assert!(text.contains("<<< GET /hello HTTP/1.0\\r\\n"), "{text}");
    let passed = shown.lines().filter_map(|line| line.strip_prefix("    "));
    assert!(passed.filter(|line| text.lines().any(|it| it == *line)).count() > 5, "{shown}");
}

#[test]
fn its_columns_stay_apart_for_users_with_long_numbers() {
    if !needs(&[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    let scratch = Scratch::new();
    let program = scratch.copy_of_program(0o755);
    let uid = 4_000_000_001;
    let mut setpriv = Command::new("setpriv");
    setpriv.args([&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups"]).arg(&program);
    let output = setpriv.arg("--demo").env("TMPDIR", scratch.path("")).output().expect("setpriv");
    expect_table(&shown(output), uid);
}
