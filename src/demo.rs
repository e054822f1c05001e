//! `--demo`: bridges a built-in client and server through the real processes, on loopback.
//!
//! The states of the roles are read from `/proc` while a session is open, except Landlock, which `/proc` does
//! not show: it is the status that the roles reported.

use std::fs;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use crate::exit::{Failure, Status};
use crate::parent::{self, Start};

/// Maximum duration of any step.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shows a monitored conversation, the roles that monitored it, and the path of the record.
pub(crate) fn run(start: Start) -> Result<u8, Failure> {
    perform(start)
        .and_then(|text| io::stdout().write_all(text.as_bytes()))
        .map_err(|error| Failure::new(Status::Os, format!("demo: {error}")))?;
    Ok(0)
}

/// Runs the demonstration and returns the text to print.
fn perform(start: Start) -> io::Result<String> {
    let record = directory(start)?.join("record");
    let server = TcpListener::bind("127.0.0.1:0")?;
    let port = server.local_addr()?.port();
    let (asked, has_been_asked) = mpsc::channel();
    let serving = thread::spawn(move || serve(&server, &asked));

    let arguments = ["-n", "-v", "-v", "-m", "1", "-a", "127.0.0.1", "-s", "127.0.0.1", "-f", "C", "-o"];
    // The default format of the display on a terminal.
    let display: &[&str] = if io::stdout().is_terminal() { &["-f", "view"] } else { &[] };
    let mut bridge = Command::new("/proc/self/exe")
        .args(arguments)
        .arg(&record)
        .args(display)
        .arg(port.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let notices = until_listening(&mut bridge)?;
    let client = request(local_port(&notices)?)?;
    // The server has received the client's data, so that the session is open in every process.
    has_been_asked.recv_timeout(PATIENCE).map_err(io::Error::other)?;
    let roles = descendants(bridge.id())?;
    let table = roles.iter().map(|pid| describe(*pid, &notices)).collect::<io::Result<Vec<_>>>()?;
    let answer = finish(client)?;

    let mut shown = String::new();
    if let Some(stdout) = &mut bridge.stdout {
        stdout.read_to_string(&mut shown)?;
    }
    let status = bridge.wait()?;
    let served = serving.join().map_err(|_| io::Error::other("the built-in server failed"))?;
    served?;

    Ok(format!(
        "$ tcpreen {} {} {}{port}\n\n\
         What passed, as it is shown on stdout (<<< from the client, >>> from the server):\n\n{}\n\
         Who did it, as the system tells while the session was open:\n\n{HEADING}\n{}\n\
         The client got its {} bytes, the bridge ended with {status}.\n\
         The record is in {}\n",
        arguments.join(" "),
        record.display(),
        display.iter().map(|word| format!("{word} ")).collect::<String>(),
        indented(shown.lines()),
        indented(table.iter().map(String::as_str)),
        answer.len(),
        record.display(),
    ))
}

const HEADING: &str =
    "    process                  pid         uid  capabilities      no_new_privs  seccomp   Landlock";

fn indented<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.map(|line| format!("    {line}\n")).collect()
}

/// A new directory that the bridge's target user can write to.
fn directory(start: Start) -> io::Result<PathBuf> {
    let directory = nix::unistd::mkdtemp(&std::env::temp_dir().join("tcpreen-demo-XXXXXX"))?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
    if let Some((uid, gid)) = parent::user_of(start).map_err(io::Error::other)? {
        nix::unistd::chown(&directory, Some(uid), Some(gid))?;
    }
    Ok(directory)
}

/// The server: answers one request, then ends.
fn serve(listener: &TcpListener, asked: &Sender<()>) -> io::Result<()> {
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(&stream);
    let mut line = String::new();
    while lines.read_line(&mut line)? > "\r\n".len() {
        line.clear();
        // The receiver is dropped after the first line.
        let _ = asked.send(());
    }
    let body = "Hello, you were watched.\n";
    write!(
        &stream,
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    stream.shutdown(Shutdown::Write)
}

/// Reads the bridge's notices up to "Listening on".
fn until_listening(bridge: &mut Child) -> io::Result<Vec<String>> {
    let stderr = bridge.stderr.take().ok_or_else(|| io::Error::other("no stderr"))?;
    let mut notices = Vec::new();
    for line in BufReader::new(stderr).lines() {
        notices.push(line?);
        if notices.last().is_some_and(|line| line.starts_with("Listening on:")) {
            return Ok(notices);
        }
    }
    Err(io::Error::other(notices.join("; ")))
}

fn local_port(notices: &[String]) -> io::Result<u16> {
    let word = notices.last().and_then(|line| line.rsplit(' ').next());
    word.and_then(|word| word.parse().ok()).ok_or_else(|| io::Error::other("no port"))
}

/// The client: sends the first half of a request, so that the session stays open.
fn request(port: u16) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /hello HTTP/1.0\r\n")?;
    Ok(stream)
}

fn finish(mut stream: TcpStream) -> io::Result<Vec<u8>> {
    stream.write_all(b"Host: demo\r\n\r\n")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// All processes of the bridge, the parent first.
fn descendants(parent: u32) -> io::Result<Vec<u32>> {
    let mut found = vec![parent];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        found.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        next += 1;
    }
    Ok(found)
}

/// Formats one row: the state of a process in `/proc`.
fn describe(pid: u32, notices: &[String]) -> io::Result<String> {
    let process = Path::new("/proc").join(pid.to_string());
    let status = fs::read_to_string(process.join("status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_ascii_whitespace().next()).unwrap_or("?").to_owned()
    };
    let arguments = fs::read(process.join("cmdline"))?;
    let role = arguments.split(|byte| *byte == 0).nth(1).map(String::from_utf8_lossy).unwrap_or_default();
    let role = if role.starts_with('[') { role.trim_matches(['[', ']']) } else { "parent" };
    // A worker inherits the zygote's Landlock restrictions.
    let reporter = if role == "worker" { "zygote" } else { role };
    let landlock = notices
        .iter()
        .find(|line| line.starts_with(reporter))
        .and_then(|line| line.split_once("Landlock ")?.1.split([';', ',']).next())
        .unwrap_or("?");
    let capabilities =
        match ["CapEff", "CapPrm", "CapInh"].map(field).iter().all(|set| set.trim_matches('0').is_empty()) {
            true => "none".to_owned(),
            false => field("CapEff"),
        };
    let seccomp = match field("Seccomp").as_str() {
        "2" => "filter".to_owned(),
        other => format!("mode {other}"),
    };
    Ok(format!(
        "{:<20} {pid:>7} {:>11}  {capabilities:<16}  {:<12}  {seccomp:<8}  {landlock}",
        format!("tcpreen: {role}"),
        field("Uid"),
        field("NoNewPrivs"),
    ))
}
