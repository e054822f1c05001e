//! The messages between the processes under attack: a compromised process cannot harm the receivers of its
//! messages, and unrelated sessions do not notice.
//!
//! The test sends in the place of the compromised process: as the parent of a role that it started itself, or
//! over a copy of a running process's descriptor.

mod on_the_disk;
mod on_the_logger;
mod on_the_parent;
mod on_the_resolver;
mod on_the_zygote;

/// `EX_SOFTWARE`: exit status after a protocol violation.
const NONSENSE: i32 = 70;
