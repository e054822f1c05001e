//! Context of every measurement: options, programs, payload, and a directory for files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::Result;
use crate::options::Options;
use crate::peers::Programs;

pub(crate) struct BenchContext {
    pub(crate) options: Options,
    pub(crate) programs: Programs,
    pub(crate) payload: Vec<u8>,
    scratch: TempDir,
}

impl BenchContext {
    pub(crate) fn open(options: Options) -> Result<Self> {
        let scratch = tempfile::Builder::new().prefix("tcpreen-bench-").tempdir()?;
        // A bridge that drops root must still reach its run's directory.
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o711))?;
        Ok(Self { options, programs: Programs::find()?, payload: payload(Traffic::Mixed), scratch })
    }

    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// A directory for one run of one program, removed with its records.
    pub(crate) fn run_dir(&self) -> Result<TempDir> {
        let dir = TempDir::new_in(self.path())?;
        if geteuid().is_root() {
            // The bridge may change to any user.
            fs::set_permissions(dir.path(), Permissions::from_mode(0o777))?;
        }
        Ok(dir)
    }
}

/// Kind of payload.
#[derive(Clone, Copy)]
pub(crate) enum Traffic {
    /// Text, with every fourth block of 256 bytes random, so that escaping formats have easy and hard cases.
    Mixed,
    /// Lines of printable text.
    Text,
    Random,
}

/// 1 MiB that is identical on every machine.
pub(crate) fn payload(traffic: Traffic) -> Vec<u8> {
    const TEXT: &[u8; 64] = b"etaoin shrdlu cmfwyp vbgkqjxz ETAOIN SHRDLU 0123456789 .,:;-()!?";
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..1 << 20)
        .map(|at| match at {
            _ if is_random(traffic, at) => random(),
            _ if at % 72 == 71 => b'\n',
            _ => TEXT[usize::from(random() % 64)],
        })
        .collect()
}

fn is_random(traffic: Traffic, at: usize) -> bool {
    match traffic {
        Traffic::Mixed => at / 256 % 4 == 3,
        Traffic::Text => false,
        Traffic::Random => true,
    }
}
