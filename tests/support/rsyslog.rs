//! Debian's rsyslogd, with a socket and a file for the test.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::until;

/// A running rsyslogd; dropping it ends the process and keeps its messages.
pub struct Rsyslogd {
    process: Child,
    messages: PathBuf,
}

impl Rsyslogd {
    /// Starts rsyslogd and returns once it accepts messages, which it appends to `messages`.
    #[track_caller]
    pub fn start(socket: &Path, messages: PathBuf) -> Self {
        let configuration = messages.with_extension("conf");
        let (path, file) = (socket.display(), messages.display());
        let text = format!(
            "module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             input(type=\"imuxsock\" Socket=\"{path}\" RateLimit.Interval=\"0\")\n\
             template(name=\"plain\" type=\"string\" string=\"%syslogfacility-text%.%syslogseverity-text% %syslogtag%%msg%\\n\")\n\
             action(type=\"omfile\" file=\"{file}\" template=\"plain\")\n"
        );
        fs::write(&configuration, text).expect("a configuration");
        let mut command = Command::new("rsyslogd");
        command.arg("-n").arg("-f").arg(&configuration).arg("-i").arg(messages.with_extension("pid"));
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("rsyslogd starts");
        let rsyslogd = Rsyslogd { process, messages };
        until("rsyslogd", || UnixDatagram::unbound().ok()?.connect(socket).ok());
        rsyslogd
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().try_into().expect("a process id"))
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("kill");
    }

    pub fn messages(&self) -> Vec<String> {
        let messages = fs::read(&self.messages).unwrap_or_default();
        String::from_utf8_lossy(&messages).lines().map(str::to_owned).collect()
    }

    /// Waits for the first message that contains the text.
    #[track_caller]
    pub fn message(&self, part: &str) -> String {
        until(part, || self.messages().into_iter().find(|message| message.contains(part)))
    }
}

impl Drop for Rsyslogd {
    fn drop(&mut self) {
        let _ = kill(self.pid(), Signal::SIGCONT);
        let _ = kill(self.pid(), Signal::SIGTERM);
        let _ = self.process.wait();
    }
}
