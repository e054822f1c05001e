//! The compared programs, and their command lines.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::bridge::{Bridge, free_port};

/// Our program's label in the tables.
pub(crate) const OURS: &str = "**tcpreen, ours**";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The client connects to the server itself.
    Direct,
    Ours,
    /// The last release of the original.
    Original,
    Socat,
    Haproxy,
    Rinetd,
    Simpleproxy,
    Sslsplit,
}

impl Program {
    const INSTALLED: [Self; 6] =
        [Self::Original, Self::Socat, Self::Haproxy, Self::Rinetd, Self::Simpleproxy, Self::Sslsplit];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct, no bridge",
            Self::Ours => OURS,
            Self::Original => "tcpreen 1.4.4",
            Self::Socat => "socat",
            Self::Haproxy => "haproxy",
            Self::Rinetd => "rinetd",
            Self::Simpleproxy => "simpleproxy",
            Self::Sslsplit => "sslsplit",
        }
    }

    fn executable(self) -> &'static str {
        match self {
            Self::Original => "tcpreen",
            other => other.name(),
        }
    }

    fn version_flag(self) -> &'static str {
        match self {
            Self::Haproxy | Self::Rinetd => "-v",
            _ => "-V",
        }
    }
}

struct Found {
    program: Program,
    path: PathBuf,
    version: String,
}

pub(crate) struct Programs(Vec<Found>);

impl Programs {
    pub(crate) fn find() -> Result<Self> {
        let ours = env::var_os("TCPREEN_UNDER_TEST")
            .map(PathBuf::from)
            .or(option_env!("CARGO_BIN_EXE_tcpreen").map(PathBuf::from))
            .ok_or("no binary to measure: set TCPREEN_UNDER_TEST")?;
        let version =
            ask_version(&ours, Program::Ours).ok_or_else(|| format!("{}: doesn't run", ours.display()))?;
        let mut found = vec![Found { program: Program::Ours, path: ours, version }];
        for program in Program::INSTALLED {
            found.extend(directories().find_map(|dir| {
                let path = dir.join(program.executable());
                let version = ask_version(&path, program)?;
                // An installed tcpreen may be our own program instead of the original.
                (program != Program::Original || version.contains(" 1.4.")).then_some(Found {
                    program,
                    path,
                    version,
                })
            }));
        }
        Ok(Self(found))
    }

    fn get(&self, program: Program) -> Option<&Found> {
        self.0.iter().find(|found| found.program == program)
    }

    /// Path of our program.
    pub(crate) fn ours(&self) -> Result<&Path> {
        Ok(&self.get(Program::Ours).ok_or("not installed")?.path)
    }

    pub(crate) fn versions(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|found| (found.program.name(), found.version.as_str()))
    }

    pub(crate) fn missing(&self) -> Vec<&'static str> {
        Program::INSTALLED
            .iter()
            .filter(|program| !self.has(**program))
            .map(|program| program.name())
            .collect()
    }

    pub(crate) fn has(&self, program: Program) -> bool {
        program == Program::Direct || self.get(program).is_some()
    }

    /// Contenders that are installed on this machine.
    pub(crate) fn present(&self, mut contenders: Vec<Contender>) -> Vec<Contender> {
        contenders.retain(|contender| self.has(contender.program));
        contenders
    }
}

/// PATH and the directories of daemons, which PATH may lack.
fn directories() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).collect::<Vec<_>>().into_iter().chain(daemons)
}

/// The first line of its version output that contains a digit, from either stream.
fn ask_version(path: &Path, program: Program) -> Option<String> {
    let output = Command::new(path).arg(program.version_flag()).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    text.lines().find(|line| line.contains(|c: char| c.is_ascii_digit())).map(|line| line.trim().to_owned())
}

/// A program with its options: a row of a table.
pub(crate) struct Contender {
    pub(crate) program: Program,
    pub(crate) label: String,
    /// Serves more than one session; tcpreen has `-F` among its options.
    many: bool,
    options: String,
}

impl Contender {
    /// `DIR` in the options, which are separated by blanks, stands for the run's directory.
    pub(crate) fn new(program: Program, options: &str) -> Self {
        let shown = options.replace("DIR/", "");
        let label = match shown.as_str() {
            "" => program.name().to_owned(),
            shown => format!("{} `{shown}`", program.name()),
        };
        Self { program, label, many: false, options: options.to_owned() }
    }

    pub(crate) fn many(mut self) -> Self {
        self.many = true;
        self
    }

    pub(crate) fn label(mut self, label: &str) -> Self {
        self.label = label.to_owned();
        self
    }

    /// Starts it between a free port and the server.
    pub(crate) fn start(&self, programs: &Programs, server: u16, dir: &Path) -> Result<Bridge> {
        if self.program == Program::Direct {
            return Ok(Bridge::direct(server));
        }
        let listen = free_port()?;
        Bridge::start(self.command(programs, server, listen, dir)?, listen, dir)
    }

    pub(crate) fn command(
        &self,
        programs: &Programs,
        server: u16,
        listen: u16,
        dir: &Path,
    ) -> Result<Command> {
        let found = programs.get(self.program).ok_or("not installed")?;
        let options = self.options.replace("DIR", &dir.to_string_lossy());
        let mut command = Command::new(&found.path);
        command.current_dir(dir).args(options.split_whitespace());
        let (from, to) = (format!("127.0.0.1:{listen}"), format!("127.0.0.1:{server}"));
        match self.program {
            // By address on both sides, to avoid lookups and connections from outside.
            Program::Direct | Program::Ours | Program::Original => command
                .args(["-n", "-a", "127.0.0.1", "-s", "127.0.0.1"])
                .args([server.to_string(), listen.to_string()]),
            Program::Socat => {
                let fork = if self.many { ",fork,backlog=1024" } else { "" };
                command
                    .arg(format!("TCP-LISTEN:{listen},bind=127.0.0.1,reuseaddr{fork}"))
                    .arg(format!("TCP:{to}"))
            }
            Program::Haproxy => {
                let config = write(dir, "haproxy.cfg", &haproxy(&from, &to))?;
                command.arg("-db").arg("-f").arg(config)
            }
            Program::Rinetd => {
                let config = write(dir, "rinetd.conf", &format!("127.0.0.1 {listen} 127.0.0.1 {server}\n"))?;
                command.arg("-f").arg("-c").arg(config)
            }
            Program::Simpleproxy => command.arg("-L").arg(from).arg("-R").arg(to),
            Program::Sslsplit => command
                .args(["tcp", "127.0.0.1"])
                .arg(listen.to_string())
                .args(["127.0.0.1", &server.to_string()]),
        };
        Ok(command)
    }
}

fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    fs::write(&path, text)?;
    Ok(path)
}

/// With splicing, on one core like the others; with an explicit number of connections, which haproxy
/// allocates in advance.
fn haproxy(from: &str, to: &str) -> String {
    format!(
        "global\n  nbthread 1\n  maxconn 2000\n\
         defaults\n  mode tcp\n  option splice-auto\n  \
         timeout connect 10s\n  timeout client 1m\n  timeout server 1m\n\
         listen bridge\n  bind {from}\n  server server {to}\n"
    )
}
