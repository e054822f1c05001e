//! `--metrics`: figures in the OpenMetrics text format, in a file that is replaced as a whole.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::support::peer::Server;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, PYTHON, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::wait::until;
use crate::support::{Bridged, bridge};

/// Prints every sample as `NAME{LABEL="VALUE",…} VALUE`; the parser rejects what the format does not allow.
const READ: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(open(sys.argv[1]).read()):
    for sample in family.samples:
        labels = ','.join(f'{name}=\"{value}\"' for name, value in sorted(sample.labels.items()))
        print(family.type, family.unit, f'{sample.name}{{{labels}}} {sample.value:g}', sep=' ')
";

/// Samples of the file as the reference parser reads them, with type and unit of their family.
fn samples(file: &Path) -> Vec<String> {
    let read =
        Command::new(PYTHON).args(["-c", READ]).arg(file).stdin(Stdio::null()).output().expect("python3");
    assert!(read.status.success(), "{}\n{}", String::from_utf8_lossy(&read.stderr), text(file));
    String::from_utf8(read.stdout).expect("text").lines().map(str::to_owned).collect()
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

fn with_metrics(file: &Path) -> Bridged {
    bridge(|it| it.args([Path::new("-q"), Path::new("--metrics"), file]))
}

#[test]
fn the_figures_of_a_run_are_read_by_the_reference_parser() {
    if !needs(&[Need::PythonModule("prometheus_client")]) {
        return;
    }
    let scratch = Scratch::new();
    let file = scratch.path("tcpreen.prom");
    let Bridged { mut client, mut server, tcpreen } = with_metrics(&file);
    client.send("ping");
    server.expect("ping");
    server.send("pong!");
    client.expect("pong!");
    until("the session", || text(&file).contains("{from=\"server\"} 5\n").then_some(()));
    let now = samples(&file);
    for sample in [
        "gauge  tcpreen_sessions_open{} 1",
        "counter bytes tcpreen_payload_bytes_total{from=\"client\"} 4",
        "histogram seconds tcpreen_first_byte_seconds_count{} 1",
        "counter  tcpreen_sessions_total{state=\"done\"} 0",
    ] {
        assert!(now.iter().any(|have| have == sample), "{sample} in {now:#?}");
    }
    client.reset();
    server.expect_reset();
    tcpreen.signal(Signal::SIGTERM);
    let outcome = tcpreen.finish();
    assert!(!outcome.stderr.contains("error"), "{outcome:?}");
    let last = samples(&file);
    for sample in [
        "gauge  tcpreen_sessions_open{} 0",
        "counter  tcpreen_sessions_total{state=\"client_reset\"} 1",
        "histogram seconds tcpreen_dial_seconds_bucket{le=\"+Inf\"} 1",
        "counter  tcpreen_output_failures_total{} 0",
    ] {
        assert!(last.iter().any(|have| have == sample), "{sample} in {last:#?}");
    }
}

#[test]
fn a_version_of_the_file_is_complete_and_replaces_the_one_before() {
    let scratch = Scratch::new();
    let file = scratch.path("tcpreen.prom");
    // Of a run that was killed while it wrote.
    fs::write(scratch.path("tcpreen.prom.new"), "# TYPE").expect("a file");
    let Bridged { mut client, server: _server, tcpreen } = with_metrics(&file);
    let first = fs::File::open(&file).expect("the file is there when the bridge listens");
    assert_eq!(first.metadata().expect("metadata").permissions().mode() & 0o7133, 0, "no more than 0644");
    client.send("more");
    until("another version", || text(&file).contains("{from=\"client\"} 4\n").then_some(()));
    let opened_before = std::io::read_to_string(first).expect("a file");
    assert!(
        opened_before.contains("{from=\"client\"} 0\n") && opened_before.ends_with("# EOF\n"),
        "{opened_before}"
    );
    assert!(text(&file).ends_with("# EOF\n"));
    drop(client);
    tcpreen.signal(Signal::SIGTERM);
    let outcome = tcpreen.finish();
    assert!(!outcome.stderr.contains("error"), "{outcome:?}");
    let left: Vec<_> =
        fs::read_dir(scratch.path(".")).expect("a directory").flatten().map(|it| it.file_name()).collect();
    assert_eq!(left, ["tcpreen.prom"], "no draft is left behind");
}

#[test]
fn a_file_that_cannot_be_replaced_is_an_error_of_the_start() {
    let scratch = Scratch::new();
    let (link, directory) = (scratch.path("link"), scratch.path("directory"));
    fs::create_dir(&directory).expect("a directory");
    std::os::unix::fs::symlink("elsewhere", &link).expect("a link");
    let server = Server::listen();
    let long = scratch.path(&"x".repeat(253));
    for (name, status, error) in [
        (scratch.path("missing/file"), 73, "No such file or directory"),
        (directory, 64, "not a regular file"),
        (link.clone(), 64, "not a regular file"),
        ("/dev/null".into(), 64, "not a regular file"),
        (long, 73, "File name too long"),
    ] {
        let outcome = Tcpreen::to(server.port()).args([Path::new("-q"), Path::new("--metrics"), &name]).run();
        assert_eq!(outcome.code(), status, "{outcome:?}");
        assert!(outcome.stderr.contains(error), "{error}: {outcome:?}");
        assert!(
            outcome.stderr.contains(&name.display().to_string()[..40.min(name.as_os_str().len())]),
            "{outcome:?}"
        );
    }
    assert!(fs::symlink_metadata(&link).expect("the link").is_symlink());
    let record = scratch.path("record");
    fs::write(&record, "kept").expect("a file");
    fs::set_permissions(&record, fs::Permissions::from_mode(0o666)).expect("chmod");
    let outcome = Tcpreen::to(server.port())
        .args([Path::new("-q"), Path::new("--metrics"), &record])
        .output(&record)
        .run();
    assert!(outcome.stderr.contains("given for two outputs"), "{outcome:?}");
    assert_eq!(fs::read_to_string(&record).expect("a file"), "kept");
}

#[test]
fn a_later_failure_is_reported_once_and_ends_nothing() {
    let scratch = Scratch::new();
    let directory = scratch.path("directory");
    fs::create_dir(&directory).expect("a directory");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).expect("a directory");
    let Bridged { mut client, mut server, tcpreen } = with_metrics(&directory.join("tcpreen.prom"));
    fs::remove_dir_all(&directory).expect("a directory");
    let error = tcpreen.stderr_line("Log file error");
    assert!(error.contains("No such file or directory") && error.contains("tcpreen.prom"), "{error}");
    client.send("on");
    server.expect("on");
    tcpreen.signal(Signal::SIGTERM);
    let outcome = tcpreen.finish();
    assert_eq!(outcome.stderr.matches("Log file error").count(), 1, "{outcome:?}");
    assert_eq!(outcome.code(), 143, "{outcome:?}");
}
