//! One `-o`: where it goes and how it is opened.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::Uid;

use crate::format::Format;
use crate::messages::{OutputTarget, Problem};

/// An open output.
pub(super) struct Output {
    pub(super) file: File,
    pub(super) format: Format,
    /// A person reads along: everything at once, and nothing that a terminal would obey.
    pub(super) terminal: bool,
    /// For the operator.
    pub(super) name: String,
}

impl Output {
    pub(super) fn open(target: OutputTarget, format: Format) -> Result<Output, Problem> {
        let name = match &target {
            OutputTarget::Stdout => "standard output".to_owned(),
            OutputTarget::File(path) => path.escape_ascii().to_string(),
        };
        let file = match target {
            OutputTarget::Stdout => io::stdout().as_fd().try_clone_to_owned().map(File::from),
            OutputTarget::File(path) if path.contains(&b'%') => {
                return Err(Problem::Template { reason: format!("{name}: templates are not built yet") });
            }
            OutputTarget::File(path) => create(path, format),
        };
        let file = file.map_err(|error| Problem::Output {
            errno: error.raw_os_error().unwrap_or(0),
            name: name.clone().into_bytes(),
        })?;
        let terminal = nix::unistd::isatty(&file).unwrap_or(false);
        Ok(Output { file, format, terminal, name })
    }
}

/// Opens a file for appending from its start, as the manual promises. Appending, so that a rotation that
/// copies and truncates leaves no hole.
fn create(path: Vec<u8>, format: Format) -> io::Result<File> {
    let path = PathBuf::from(std::ffi::OsString::from_vec(path));
    let mode = if format == Format::Password { 0o600 } else { 0o666 };
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_APPEND | OFlag::O_NOCTTY;
    let file = File::from(open(&path, flags | OFlag::O_CLOEXEC, Mode::from_bits_truncate(mode))?);
    let found = file.metadata()?;
    // Secrets in a file that was there before and that others may read; a device keeps its mode.
    if format == Format::Password && found.is_file() && found.uid() == Uid::effective().as_raw() {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}
