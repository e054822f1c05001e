//! Exit statuses, and the error type that carries them.
//!
//! The numbers are those of sysexits.h (BSD); `EX_*` in brackets.

/// Exit statuses, as in the man page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// A replayed or compared session differs.
    Different = 1,
    /// The command line is invalid. \[`EX_USAGE`\]
    Usage = 64,
    /// A saved record is damaged, or the file is not a record. \[`EX_DATAERR`\]
    Data = 65,
    /// A saved record cannot be opened or read. \[`EX_NOINPUT`\]
    NoInput = 66,
    /// A host name is unknown. \[`EX_NOHOST`\]
    NoHost = 68,
    /// A required service or role is missing. \[`EX_UNAVAILABLE`\]
    Unavailable = 69,
    /// An internal error. \[`EX_SOFTWARE`\]
    Software = 70,
    /// The system denied a basic operation. \[`EX_OSERR`\]
    Os = 71,
    /// An output cannot be created. \[`EX_CANTCREAT`\]
    CannotCreate = 73,
    /// An output cannot be written. \[`EX_IOERR`\]
    Io = 74,
    /// Not permitted. \[`EX_NOPERM`\]
    NoPermission = 77,
    /// The configuration cannot work on this system. \[`EX_CONFIG`\]
    Config = 78,
}

/// Reason why the program cannot start or continue: one or more lines for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(status: Status, text: impl Into<String>) -> Self {
        Failure { status, text: text.into() }
    }
}
