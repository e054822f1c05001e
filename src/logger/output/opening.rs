//! Opens the outputs at the start, in steps: all names are valid, all files are open, no file is given twice, each
//! regular file is locked; only then is the first of them emptied. A start that fails has destroyed nothing, and no
//! step waits for another process.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, isatty};

use crate::format::Format;
use crate::logger::metrics::Metrics;
use crate::logger::output::claim;
use crate::logger::output::claim::FileId;
use crate::logger::output::directory::Directory;
use crate::logger::output::fifo::WaitingFifo;
use crate::logger::output::log_file::{FileSink, LogFile};
use crate::logger::output::per_session::PerSessionFiles;
use crate::logger::output::reopen::ReopenPath;
use crate::logger::output::rotated::RotatedFiles;
use crate::logger::output::rotation::Rotation;
use crate::logger::output::template::{OutputName, Template};
use crate::logger::output::{OneFile, Output};
use crate::messages::{self, Appearance, Beginning, Hangup, OutputMode, OutputTarget, Problem, Taken, View};
use crate::pattern::Pattern;
use crate::policy::{PRIVATE, PUBLIC};
use crate::record::{Purpose, Setting, Zone, encoder};

/// An output with a valid name that is not open yet.
pub(in crate::logger) struct Plan {
    to: To,
    view: View,
    /// Name as typed, for messages to the operator.
    name: String,
}

enum To {
    /// An inherited descriptor.
    Stream(OwnedFd),
    File(PathBuf),
    PerSessionFiles(Template),
    Metrics(PathBuf),
}

/// Settings of all outputs: reopening and rotation, and the treatment of contents that exist at the start.
pub(in crate::logger) struct ReopenPolicy {
    pub(in crate::logger) hangup: Hangup,
    pub(in crate::logger) rotation: messages::RotationPlan,
    pub(in crate::logger) beginning: Beginning,
    pub(in crate::logger) sharing: OutputMode,
    pub(in crate::logger) taken: Taken,
    pub(in crate::logger) appearance: Appearance,
    pub(in crate::logger) pattern: Option<Arc<Pattern>>,
}

impl ReopenPolicy {
    fn setting(&self, zone: &Arc<Zone>) -> Setting {
        Setting { appearance: self.appearance, zone: Arc::clone(zone), pattern: self.pattern.clone() }
    }
}

/// An output that is open and whose contents are unchanged.
struct OpenOutput {
    kind: OpenKind,
    view: View,
    name: String,
}

enum OpenKind {
    Stream(File),
    WaitingFifo(FileSink),
    Device(File),
    Regular(Regular),
    PerSessionFiles(PerSessionFiles),
    Metrics(Box<Metrics>),
}

/// A regular file, as found at the start.
struct Regular {
    file: File,
    path: PathBuf,
    length: u64,
    /// Path at which the file is reopened when logs are rotated.
    reopen_path: Option<ReopenPath>,
    /// Finished parts, with `--rotate-size` or `--rotate-time`.
    parts: Option<RotatedFiles>,
}

/// Identity that two outputs may not share.
#[derive(PartialEq)]
enum OutputIdentity<'a> {
    File(FileId),
    PerSessionFiles(FileId, &'a Template),
}

/// Opens all outputs; changes contents only after all are known to be valid.
pub(in crate::logger) fn open_all(
    plans: Vec<Plan>,
    reopen_policy: &ReopenPolicy,
) -> Result<Vec<Output>, Problem> {
    // The time zone is read here, because no file can be read later.
    let shows_time = plans.iter().any(|plan| plan.view.time.is_some());
    let zone = Arc::new(if shows_time { Zone::system() } else { Zone::default() });
    let open = |plan: Plan| plan.open(reopen_policy, &zone);
    let opened: Vec<OpenOutput> = plans.into_iter().map(open).collect::<Result<_, _>>()?;
    refuse_twice(&opened)?;
    let is_regular = |opened: &OpenOutput| matches!(opened.kind, OpenKind::Regular(_));
    if reopen_policy.rotation.is_wanted() && !opened.iter().any(is_regular) {
        let reason = "nothing to rotate: no output is a file that all sessions share".into();
        return Err(Problem::Template { reason });
    }
    opened.iter().try_for_each(OpenOutput::lock)?;
    let mut outputs: Vec<Output> =
        opened.into_iter().map(|opened| opened.begin(reopen_policy, &zone)).collect::<Result<_, _>>()?;
    let files: Vec<_> = outputs.iter().filter_map(Output::id).collect();
    outputs.iter_mut().for_each(|output| output.exclude(&files));
    Ok(outputs)
}

fn refuse_twice(opened: &[OpenOutput]) -> Result<(), Problem> {
    for (index, second) in opened.iter().enumerate() {
        let Some(place) = second.place() else { continue };
        // Two outputs on the standard output alternate, as in 1.4.4.
        let clash = |first: &&OpenOutput| {
            first.place().as_ref() == Some(&place) && !(first.is_stream() && second.is_stream())
        };
        if let Some(first) = opened[..index].iter().find(clash) {
            let reason = format!("{}: given for two outputs: it is the same as {}", second.name, first.name);
            return Err(Problem::Template { reason: reason.into() });
        }
    }
    Ok(())
}

impl Plan {
    /// `fd` is the descriptor that came with the target.
    pub(in crate::logger) fn new(
        target: OutputTarget,
        fd: Option<OwnedFd>,
        view: View,
    ) -> Result<Plan, Problem> {
        let (to, name) = match (target, fd) {
            (OutputTarget::Descriptor(name), Some(fd)) => (To::Stream(fd), name),
            (OutputTarget::Descriptor(name), None) => return Err(problem(name, &Errno::EBADF.into())),
            (OutputTarget::Stdout, _) => {
                let name = "standard output".to_owned();
                match io::stdout().as_fd().try_clone_to_owned() {
                    Ok(fd) => (To::Stream(fd), name),
                    Err(error) => return Err(problem(name, &error)),
                }
            }
            (OutputTarget::File(typed), _) => {
                let name = crate::reason::shown_name(&typed);
                let to = match OutputName::parse(&typed) {
                    Ok(OutputName::Plain(path)) => To::File(OsString::from_vec(path).into()),
                    Ok(OutputName::Template(template)) => To::PerSessionFiles(template),
                    Err(mistake) => {
                        return Err(Problem::Template { reason: format!("{name}: {mistake}").into() });
                    }
                };
                (to, name)
            }
            (OutputTarget::Metrics(typed), _) => {
                let name = crate::reason::shown_name(&typed);
                (To::Metrics(OsString::from_vec(typed).into()), name)
            }
        };
        Ok(Plan { to, view, name })
    }

    fn open(self, reopen_policy: &ReopenPolicy, zone: &Arc<Zone>) -> Result<OpenOutput, Problem> {
        let Plan { to, view, name } = self;
        let kind = match to {
            To::Stream(fd) => match writable(fd) {
                Ok(file) if view.format.is_binary() && isatty(&file) == Ok(true) => {
                    let format = view.format.names()[0];
                    let reason =
                        format!("{name}: a terminal cannot show {format}; write it to a file (-o FILE)");
                    return Err(Problem::Template { reason: reason.into() });
                }
                result => result.map(OpenKind::Stream),
            },
            To::File(path) => open_file(path, view.format, reopen_policy),
            To::Metrics(path) => {
                Metrics::open(&path, name.clone()).map(|metrics| OpenKind::Metrics(Box::new(metrics)))
            }
            To::PerSessionFiles(template) => {
                let setting = reopen_policy.setting(zone);
                let session_files =
                    PerSessionFiles::open(template, view, mode(view.format), reopen_policy.taken, setting);
                session_files.map(OpenKind::PerSessionFiles).map_err(io::Error::from)
            }
        };
        match kind {
            Ok(kind) => Ok(OpenOutput { kind, view, name }),
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) && reopen_policy.rotation.is_wanted() => {
                let reason = format!("{name}: a symbolic link has no parts; name the file that it leads to");
                Err(Problem::Template { reason: reason.into() })
            }
            Err(error) if error.raw_os_error().is_none() => {
                Err(Problem::Template { reason: format!("{name}: {error}").into() })
            }
            Err(error) => Err(problem(name, &error)),
        }
    }
}

impl OpenOutput {
    fn is_stream(&self) -> bool {
        matches!(self.kind, OpenKind::Stream(_))
    }

    /// Returns `None` for files that may be written from several sides: terminals and other devices.
    fn place(&self) -> Option<OutputIdentity<'_>> {
        match &self.kind {
            OpenKind::Regular(Regular { file, .. }) | OpenKind::WaitingFifo(FileSink::Open(file)) => id(file),
            OpenKind::WaitingFifo(FileSink::Waiting(pipe)) => id(pipe),
            OpenKind::Stream(file) => {
                let kind = file.metadata().ok()?.file_type();
                if kind.is_file() || kind.is_fifo() { id(file) } else { None }
            }
            OpenKind::Device(_) => None,
            OpenKind::Metrics(metrics) => metrics.found().map(OutputIdentity::File),
            OpenKind::PerSessionFiles(session_files) => Some(OutputIdentity::PerSessionFiles(
                FileId::of(session_files).ok()?,
                session_files.template(),
            )),
        }
    }

    /// Rejects a file that another program has locked. Streams are not locked: the lock would outlive this
    /// program in the process that opened them.
    fn lock(&self) -> Result<(), Problem> {
        match &self.kind {
            OpenKind::Regular(Regular { file, .. }) => {
                claim::lock(file).map_err(|_| Problem::InUse { name: self.name.clone().into_bytes() })
            }
            _ => Ok(()),
        }
    }

    /// Prepares the output for writing: from here on, old contents may be lost.
    fn begin(self, reopen_policy: &ReopenPolicy, zone: &Arc<Zone>) -> Result<Output, Problem> {
        let OpenOutput { kind, view, name } = self;
        let labelled = reopen_policy.sharing == OutputMode::Labelled;
        let log_file = |sink: FileSink, name| {
            let purpose = Purpose::new(labelled, sink.is_terminal(), &reopen_policy.setting(zone));
            let follows = view.format == Format::View && purpose.terminal;
            let log_file = LogFile::new(sink, name, encoder(view, purpose)).taken(reopen_policy.taken);
            if follows { log_file.follow_width() } else { log_file }
        };
        let one =
            |log_file, reopen_path| Ok(Output::OneFile(Box::new(OneFile::new(log_file, view, reopen_path))));
        match kind {
            OpenKind::PerSessionFiles(session_files) => Ok(Output::PerSessionFiles(session_files)),
            // Written at the start, so that a failure is an error of the start.
            OpenKind::Metrics(mut metrics) => match metrics.replace() {
                Ok(()) => Ok(Output::Metrics(metrics)),
                Err(error) => Err(problem(name, &error)),
            },
            OpenKind::Stream(file) | OpenKind::Device(file) => {
                one(log_file(FileSink::Open(file), name), None)
            }
            OpenKind::WaitingFifo(sink) => one(log_file(sink, name), None),
            OpenKind::Regular(mut regular) => {
                regular
                    .begin(view, reopen_policy.beginning)
                    .map_err(|error| problem(name.clone(), &error))?;
                let Regular { file, reopen_path, parts, .. } = regular;
                let rotation = parts.map(|parts| Rotation::of(reopen_policy.rotation, parts, &file));
                let mut log_file = log_file(FileSink::Open(file), name);
                log_file.rotation = rotation;
                one(log_file, reopen_path)
            }
        }
    }
}

impl Regular {
    /// Empties the file, makes it the first part, or completes its last line, so that the next record begins on a
    /// line of its own.
    fn begin(&mut self, view: View, beginning: Beginning) -> io::Result<()> {
        let found = self.file.metadata()?;
        // The file existed before, contains secrets, and others may have permission to read it.
        if view.format.is_private() && found.uid() == Uid::effective().as_raw() {
            self.file.set_permissions(Permissions::from_mode(PRIVATE))?;
        }
        let is_bytes = view.format.is_binary() || view.format == Format::Raw && view.only.is_some();
        match beginning {
            _ if self.length == 0 => Ok(()),
            Beginning::Append if is_bytes || self.ends_a_line() => Ok(()),
            Beginning::Append => self.file.write_all(b"\n"),
            Beginning::Empty => match &mut self.parts {
                Some(parts) => {
                    self.file = parts.rotate(&self.file)?.file;
                    Ok(())
                }
                None => self.file.set_len(0),
            },
        }
    }

    /// Checks for a line end at the end of the file. Returns `false` if the file cannot be read, because a
    /// superfluous line end is better than a missing one.
    fn ends_a_line(&self) -> bool {
        let mut last = [0];
        // Non-blocking, because a FIFO may have taken the name.
        let reader = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&self.path);
        reader.is_ok_and(|reader| {
            FileId::of(&reader) == FileId::of(&self.file)
                && reader.read_exact_at(&mut last, self.length - 1).is_ok()
                && last == *b"\n"
        })
    }
}

fn id<'a>(file: impl AsFd) -> Option<OutputIdentity<'a>> {
    FileId::of(file).ok().map(OutputIdentity::File)
}

fn problem(name: String, error: &io::Error) -> Problem {
    Problem::Output { errno: error.raw_os_error().unwrap_or(0), name: name.into_bytes() }
}

/// Mode of a new file, before the umask.
fn mode(format: Format) -> Mode {
    Mode::from_bits_truncate(if format.is_private() { PRIVATE } else { PUBLIC })
}

/// Takes over an inherited descriptor; fails if it is not open for writing.
fn writable(fd: OwnedFd) -> io::Result<File> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    if flags & OFlag::O_ACCMODE == OFlag::O_RDONLY || flags.contains(OFlag::O_PATH) {
        return Err(Errno::EBADF.into());
    }
    Ok(fd.into())
}

/// Opens the file, or creates a regular file. In append mode, so that a rotation by copying and truncating leaves no
/// hole; non-blocking, so that neither a FIFO nor a serial line can block the start.
fn open_file(path: PathBuf, format: Format, reopen_policy: &ReopenPolicy) -> io::Result<OpenKind> {
    let in_parts = reopen_policy.rotation.is_wanted();
    // A link is refused for an output with parts: these would be beside the link, and the file elsewhere.
    let links = if in_parts { OFlag::O_NOFOLLOW } else { OFlag::empty() };
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    let file = match open(&path, flags | links | OFlag::O_CLOEXEC, mode(format)) {
        Ok(file) => File::from(file),
        // Error of both a socket and a FIFO without a reader.
        Err(Errno::ENXIO) => return waiting(&path),
        Err(errno) => return Err(errno.into()),
    };
    let found = file.metadata()?;
    if found.file_type().is_fifo() {
        return Ok(OpenKind::WaitingFifo(FileSink::Open(file)));
    }
    if !found.is_file() {
        return Ok(OpenKind::Device(file));
    }
    settle_name(&path, reopen_policy.taken)?;
    let parts = in_parts.then(|| RotatedFiles::of(&path, reopen_policy.rotation.keep)).transpose()?;
    let reopened = reopen_policy.hangup == Hangup::Reopens;
    let reopen_path =
        reopened.then(|| ReopenPath::of(&path, mode(format), reopen_policy.taken)).transpose()?;
    Ok(OpenKind::Regular(Regular { file, length: found.len(), path, reopen_path, parts }))
}

/// Waits until the name of a file is on the disk, if `--record-first=sync` requires it. The name may be a link.
fn settle_name(path: &Path, taken: Taken) -> io::Result<()> {
    if taken == Taken::Written {
        return Ok(());
    }
    let real = path.canonicalize()?;
    Directory::hold(real.parent().unwrap_or(Path::new("/")), taken)?.settle()
}

fn waiting(path: &Path) -> io::Result<OpenKind> {
    match WaitingFifo::find(path)? {
        Some(pipe) => Ok(OpenKind::WaitingFifo(FileSink::Waiting(pipe))),
        None => Err(Errno::ENXIO.into()),
    }
}
