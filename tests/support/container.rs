//! A root file system for one test, with the program in it and the libraries of this machine: a container
//! without its tools. Needs root and the right to create a mount namespace.

use std::fs;
use std::path::PathBuf;

use super::scratch::Scratch;
use super::tcpreen::Tcpreen;

/// Builder of a container, with everything that a container usually has by default.
pub struct Container {
    scratch: Scratch,
    proc: bool,
    accounts: bool,
    read_only: bool,
    init: bool,
    before: String,
}

impl Container {
    pub fn new() -> Self {
        let scratch = Scratch::new();
        for name in ["root", "records"] {
            fs::create_dir(scratch.path(name)).expect("mkdir");
        }
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(scratch.path("records"), everybody).expect("chmod");
        scratch.copy_of_program(0o755);
        Container {
            scratch,
            proc: true,
            accounts: true,
            read_only: false,
            init: false,
            before: String::new(),
        }
    }

    pub fn without_proc(self) -> Self {
        Container { proc: false, ..self }
    }

    /// Removes `/etc/passwd` and `/etc/group`.
    pub fn without_accounts(self) -> Self {
        Container { accounts: false, ..self }
    }

    pub fn read_only(self) -> Self {
        Container { read_only: true, ..self }
    }

    /// Runs the program in a PID namespace, as its first process.
    pub fn first_process(self) -> Self {
        Container { init: true, ..self }
    }

    /// Puts words in front of the command, such as `/usr/bin/setpriv --reuid 1000`.
    pub fn by(self, words: &str) -> Self {
        Container { before: words.to_owned(), ..self }
    }

    /// Path of a file in the volume `/records`, seen from outside.
    pub fn record(&self, name: &str) -> PathBuf {
        self.scratch.path("records").join(name)
    }

    /// The command line in the container, not yet started.
    pub fn command(&self, server: u16) -> Tcpreen {
        let draft = self.scratch.path("draft");
        fs::write(&draft, self.script()).expect("a script");
        Tcpreen::to(server).binary(self.scratch.executable(&draft, "start", 0o755))
    }

    fn script(&self) -> String {
        let [root, records, program] =
            ["root", "records", "tcpreen"].map(|name| self.scratch.path(name).display().to_string());
        let mut lines = vec![
            format!("mount -t tmpfs -o mode=755 none {root}"),
            format!("cd {root}"),
            "mkdir bin proc dev etc tmp records usr lib lib64".to_owned(),
            "chmod 1777 tmp".to_owned(),
            format!("cp {program} bin/tcpreen"),
            "for place in usr lib lib64; do mount --bind /$place $place; done".to_owned(),
            "touch dev/null && mount --bind /dev/null dev/null".to_owned(),
            format!("mount --bind {records} records"),
        ];
        if self.accounts {
            lines.push("cp /etc/passwd /etc/group etc".into());
        }
        if self.proc {
            lines.push("mount -t proc proc proc".into());
        }
        if self.read_only {
            lines.push("mount -o remount,ro,bind .".into());
        }
        lines.push(format!("exec chroot . {} /bin/tcpreen \"$@\"", self.before));
        // The first process of a PID namespace is a child of the process that creates it.
        let pids = if self.init { "--pid --fork --kill-child" } else { "" };
        format!("#!/bin/sh\nexec unshare --mount {pids} sh -ec '\n{}' sh \"$@\"\n", lines.join("\n"))
    }
}
