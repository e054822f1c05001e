//! The bridge: a builder for its command line, and the running program.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Gid, Pid, Uid};

use super::peer::Peer;
use super::proc;
use super::under_test::{binary, is_original};
use super::wait::{until, within};

/// Builder of a command line: `tcpreen -n -a 127.0.0.1 -s 127.0.0.1 … SERVERPORT [LOCALPORT]`.
pub struct Tcpreen {
    binary: PathBuf,
    options: Vec<OsString>,
    ports: Vec<OsString>,
    address: String,
    host: String,
    shell: Option<(String, String)>,
    environment: Vec<(OsString, OsString)>,
    account: Option<(Uid, Gid)>,
    stdin: Option<Stdio>,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
}

impl Tcpreen {
    /// A bridge in front of a server on loopback.
    pub fn to(server: impl ToString) -> Self {
        Tcpreen {
            binary: binary(),
            options: vec!["-n".into()],
            ports: vec![server.to_string().into()],
            address: "127.0.0.1".into(),
            host: "127.0.0.1".into(),
            shell: None,
            environment: vec![("LC_ALL".into(), "C".into())],
            account: None,
            stdin: None,
            stdout: None,
            stderr: None,
        }
    }

    /// A bridge in front of a Unix socket, of which no more than the path is given.
    pub fn to_socket(path: impl AsRef<Path>) -> Self {
        let mut it = Tcpreen::to("").host("").args(["-p", "unix/tcp"]);
        it.ports = vec![path.as_ref().as_os_str().to_owned()];
        it
    }

    /// A replay; `arguments` are `--replay=SIDE` and the arguments after it.
    pub fn replaying<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let mut it = Tcpreen::to("").host("");
        it.ports = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        it
    }

    /// A run that reads saved records.
    pub fn reading<P: AsRef<OsStr>>(files: impl IntoIterator<Item = P>) -> Self {
        let mut it = Tcpreen::to("--read").listen_on("").host("");
        it.ports.extend(files.into_iter().map(|file| file.as_ref().to_owned()));
        it
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.options.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub fn format(self, format: &str) -> Self {
        self.args(["-f", format])
    }

    pub fn output(self, path: impl AsRef<Path>) -> Self {
        self.args([OsStr::new("-o"), path.as_ref().as_os_str()])
    }

    /// `-m`
    pub fn sessions(self, number: u32) -> Self {
        self.args(["-m".to_owned(), number.to_string()])
    }

    /// `-F`
    pub fn at_once(self, number: u32) -> Self {
        self.args(["-F".to_owned(), number.to_string()])
    }

    pub fn local_port(mut self, port: impl ToString) -> Self {
        self.ports.push(port.to_string().into());
        self
    }

    /// `-a`; omitted if `""`
    pub fn listen_on(mut self, address: &str) -> Self {
        self.address = address.into();
        self
    }

    /// `-a` and the local port
    pub fn listen_at(self, place: SocketAddr) -> Self {
        self.listen_on(&place.ip().to_string()).local_port(place.port())
    }

    /// `-s`; omitted if `""`
    pub fn host(mut self, host: &str) -> Self {
        self.host = host.into();
        self
    }

    /// Removes `-n`.
    pub fn with_names(mut self) -> Self {
        self.options.retain(|option| option != "-n");
        self
    }

    pub fn binary(mut self, path: PathBuf) -> Self {
        self.binary = path;
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs as this user and group, without supplementary groups.
    pub fn account(mut self, (uid, gid): (Uid, Gid)) -> Self {
        self.account = Some((uid, gid));
        self
    }

    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = Some(stdout.into());
        self
    }

    /// Descriptor 0, instead of `/dev/null`.
    pub fn stdin(mut self, stdin: impl Into<OwnedFd>) -> Self {
        self.stdin = Some(stdin.into().into());
        self
    }

    /// Starts as inetd does: `--inetd`, and one socket as all three standard streams.
    pub fn by_inetd(mut self, socket: impl Into<OwnedFd>) -> Self {
        let socket = socket.into();
        let copy = || Some(socket.try_clone().expect("dup").into());
        (self.stdin, self.stdout, self.stderr) = (copy(), copy(), copy());
        self.listen_on("").args(["--inetd"])
    }

    /// Starts as a service manager does: sockets from descriptor 3 on, and the variables that describe them.
    pub fn with_sockets<S: Into<OwnedFd>>(self, names: &str, sockets: impl IntoIterator<Item = S>) -> Self {
        let mut sockets: Vec<OwnedFd> = sockets.into_iter().map(Into::into).collect();
        let variables = format!("export LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={names}", sockets.len());
        // A shell can pass two sockets on two of its streams.
        let second = if sockets.len() > 1 { "4<&1 1>/dev/null " } else { "" };
        let mut it = self.by_shell(&variables, &format!("{second}3<&0 0</dev/null")).listen_on("");
        if sockets.len() > 1 {
            it.stdout = sockets.pop().map(Stdio::from);
        }
        it.stdin = sockets.pop().map(Stdio::from);
        it
    }

    /// Starts from a shell that has run `before` (`ulimit -n 64`), with `redirections` (`2>&-`).
    pub fn by_shell(mut self, before: &str, redirections: &str) -> Self {
        self.shell = Some((before.into(), redirections.into()));
        self
    }

    fn command(&self) -> Command {
        let mut command = match &self.shell {
            None => Command::new(&self.binary),
            Some((before, redirections)) => {
                let mut shell = Command::new("bash");
                shell.arg("-c").arg(format!("{before}\nexec \"$0\" \"$@\" {redirections}")).arg(&self.binary);
                shell
            }
        };
        let hosts = [["-a", &self.address], ["-s", &self.host]].into_iter().filter(|it| !it[1].is_empty());
        command.args(&self.options).args(hosts.flatten()).args(&self.ports);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some((uid, gid)) = self.account {
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        command.process_group(0);
        command
    }

    /// Starts without waiting.
    #[track_caller]
    pub fn spawn(mut self) -> Running {
        let stdin = self.stdin.take().unwrap_or_else(Stdio::null);
        let [stdout, stderr] =
            [self.stdout.take(), self.stderr.take()].map(|stream| stream.unwrap_or_else(Stdio::piped));
        let mut command = self.command();
        let mut child = command.stdin(stdin).stdout(stdout).stderr(stderr).spawn().expect("it starts");
        drop(command);
        Running {
            stdout: child.stdout.take().map_or_else(Collected::nothing, Collected::new),
            stderr: child.stderr.take().map_or_else(Collected::nothing, Collected::new),
            address: self.address,
            child,
            port: 0,
        }
    }

    /// Starts and waits until it listens.
    #[track_caller]
    pub fn start(self) -> Running {
        let mut running = self.spawn();
        running.listens();
        running
    }

    /// Runs to the end, without a signal from the test.
    #[track_caller]
    pub fn run(self) -> Outcome {
        self.spawn().finish()
    }
}

/// Output collected from a pipe.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<(Vec<u8>, bool)>>);

impl Collected {
    fn new(mut pipe: impl Read + Send + 'static) -> Self {
        let collected = Collected::default();
        let writer = collected.clone();
        thread::spawn(move || {
            let mut buffer = [0; 64 * 1024];
            while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                writer.0.lock().expect("no panic").0.extend_from_slice(&buffer[..length]);
            }
            writer.0.lock().expect("no panic").1 = true;
        });
        collected
    }

    /// Represents a pipe that does not exist.
    fn nothing() -> Self {
        Collected(Arc::new(Mutex::new((Vec::new(), true))))
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("no panic").0.clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn is_closed(&self) -> bool {
        self.0.lock().expect("no panic").1
    }
}

/// A running bridge. Dropping it ends its processes, and no others.
pub struct Running {
    child: Child,
    stdout: Collected,
    stderr: Collected,
    address: String,
    port: u16,
}

impl Running {
    /// Waits until it listens.
    #[track_caller]
    pub fn listens(&mut self) {
        let line = self.stderr_line("Listening on: ");
        let port = line.rsplit(' ').next().expect("a word");
        self.port = port.parse().unwrap_or_else(|_| panic!("a port number at the end of {line:?}"));
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a process id"))
    }

    #[track_caller]
    pub fn connect(&self) -> Peer {
        let address = format!("{}:{}", self.address, self.port);
        Peer::connect_to(address.parse().expect("an address and a port"))
    }

    /// Connects and expects a reset, possibly before the connection is established.
    #[track_caller]
    pub fn expect_refusal(&self) {
        match TcpStream::connect((self.address.as_str(), self.port)) {
            Ok(stream) => Peer::over(stream).expect_refusal(),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }

    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Waits for a whole line on stderr that contains `part`.
    #[track_caller]
    pub fn stderr_line(&self, part: &str) -> String {
        let found = until_or_closed(&self.stderr, || {
            let text = self.stderr();
            text.split_inclusive('\n')
                .find(|line| line.ends_with('\n') && line.contains(part))
                .map(str::to_owned)
        });
        found
            .unwrap_or_else(|| panic!("no {part:?} on stderr, but {:?}", self.stderr()))
            .trim_end()
            .to_owned()
    }

    /// Waits until stdout contains `part`.
    #[track_caller]
    pub fn stdout_with(&self, part: &str) -> String {
        let found = until_or_closed(&self.stdout, || Some(self.stdout()).filter(|text| text.contains(part)));
        found.unwrap_or_else(|| panic!("no {part:?} on stdout, but {:?}", self.stdout()))
    }

    /// Processes of the bridge by role; `parent` is the process that was started.
    pub fn roles(&self) -> BTreeMap<String, Vec<Pid>> {
        let mut roles = BTreeMap::from([("parent".to_owned(), vec![self.pid()])]);
        for pid in proc::descendants(self.pid()) {
            match proc::role(pid).as_deref() {
                // The children of 1.4.4 have its own command line.
                Some(proc::PARENT) => roles.entry("child".to_owned()).or_default().push(pid),
                Some(role) => roles.entry(role.to_owned()).or_default().push(pid),
                None => {}
            }
        }
        roles
    }

    /// Same as [`Running::roles`], once a worker exists: workers are forked after the bridge has begun to
    /// serve.
    #[track_caller]
    pub fn all_roles(&self) -> BTreeMap<String, Vec<Pid>> {
        until("a worker", || Some(self.roles()).filter(|roles| roles.contains_key("worker")))
    }

    /// The only process with this role. For a moment a new worker has the title of its zygote.
    #[track_caller]
    pub fn role(&self, role: &str) -> Pid {
        until(&format!("one {role}"), || match self.roles().get(role).map(Vec::as_slice) {
            Some([pid]) => Some(*pid),
            _ => None,
        })
    }

    /// The worker of the only open session: it holds two TCP sockets.
    #[track_caller]
    pub fn busy_worker(&self) -> Pid {
        until("a worker with two TCP sockets", || {
            let tcp = proc::tcp_sockets();
            let workers = self.roles().remove("worker")?;
            workers.into_iter().find(|pid| {
                proc::descriptors(*pid).values().filter(|target| tcp.contains(*target)).count() == 2
            })
        })
    }

    /// All processes of the bridge, including the parent.
    pub fn processes(&self) -> Vec<Pid> {
        self.roles().into_values().flatten().collect()
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("kill");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        until("the end of the program", || {
            if is_original() {
                // The parent may miss the end of its last child between two polls.
                let _ = kill(self.pid(), Signal::SIGCHLD);
            }
            self.child.try_wait().expect("wait")
        })
    }

    #[track_caller]
    pub fn wait_within(&mut self, limit: Duration) -> ExitStatus {
        within(limit, "the end of the program", || self.child.try_wait().expect("wait"))
    }

    /// Waits for the end of the bridge and for the rest of its output.
    #[track_caller]
    pub fn finish(mut self) -> Outcome {
        let status = self.wait();
        until("the end of stdout and stderr", || {
            (self.stdout.is_closed() && self.stderr.is_closed()).then_some(())
        });
        Outcome { status, stdout: self.stdout.bytes(), stderr: self.stderr.text() }
    }
}

/// Polls `probe` until it finds something or the pipe has been closed.
fn until_or_closed<T>(pipe: &Collected, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    until("output of the program", || {
        let closed = pipe.is_closed();
        probe().map(Some).or_else(|| closed.then_some(None))
    })
}

impl Drop for Running {
    fn drop(&mut self) {
        if thread::panicking() {
            let said = self.stderr();
            eprintln!(
                "the bridge said last:\n{}",
                &said[said.floor_char_boundary(said.len().saturating_sub(2000))..]
            );
        }
        if !self.is_running() {
            return;
        }
        let family = proc::descendants(self.pid());
        // The leader is our child and not yet waited for, so its process id cannot have been reused.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        for pid in family {
            let _ = kill(pid, Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// Exit status and output.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    /// Exit status as a shell shows it: 128+n after signal n.
    pub fn code(&self) -> i32 {
        self.status.code().or_else(|| self.status.signal().map(|signal| 128 + signal)).expect("an end")
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}
