//! Outputs: permitted targets, existing contents, and concurrent writers.

mod contents;
mod descriptors;
mod direction;
mod faults;
mod fifo;
mod start;
