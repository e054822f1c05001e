//! The units in contrib/systemd, judged by systemd itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::skip::{Need, needs};

/// Tenths of the "exposure" of a service; 100 is none of the protection that systemd knows.
const THRESHOLDS: [(&str, u32); 3] =
    [("tcpreen-activated.service", 16), ("tcpreen@.service", 16), ("tcpreen.service", 25)];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/systemd")
}

fn analyze(arguments: &[&str]) -> (bool, String) {
    let mut analyze = Command::new("systemd-analyze");
    let output = analyze.args(arguments).current_dir(folder()).output().expect("systemd-analyze");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), said)
}

#[test]
fn the_units_take_away_what_is_not_needed() {
    if !needs(&[Need::Ours, Need::Program("systemd-analyze")]) {
        return;
    }
    for (unit, threshold) in THRESHOLDS {
        let threshold = format!("--threshold={threshold}");
        let (good, said) = analyze(&["security", "--offline=true", &threshold, "--no-pager", unit]);
        assert!(good, "{unit}: {said}");
    }
}

/// Of a program that is not installed it complains; nothing else may be wrong.
#[test]
fn the_units_make_sense_to_systemd() {
    if !needs(&[Need::Ours, Need::Program("systemd-analyze")]) {
        return;
    }
    let units = [
        "tcpreen.service",
        "tcpreen.socket",
        "tcpreen-activated.service",
        "tcpreen@8080.socket",
        "tcpreen@.service",
    ];
    let (_, said) = analyze(&[&["verify", "--man=no"], units.as_slice()].concat());
    let complaints: Vec<&str> =
        said.lines().filter(|line| !line.contains("/usr/bin/tcpreen is not executable")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}
