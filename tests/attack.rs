//! The messages between the processes under attack: whatever one of them is made to say, those who hear it
//! stay whole, and nobody who has nothing to do with it notices.
//!
//! The test speaks in the place of the process that has been taken over: as the parent of a role that it
//! started itself, or over a copy of a descriptor of a process that runs.

mod on_the_disk;
mod on_the_logger;
mod on_the_parent;
mod on_the_resolver;
mod on_the_zygote;

/// `EX_SOFTWARE`: what a process ends with that was told nonsense.
const NONSENSE: i32 = 70;
