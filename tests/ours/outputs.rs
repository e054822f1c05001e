//! Outputs: permitted targets, existing contents, and concurrent writers.

pub(crate) mod contents;
pub(crate) mod descriptors;
pub(crate) mod direction;
pub(crate) mod faults;
pub(crate) mod fifo;
pub(crate) mod start;
