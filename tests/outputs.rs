//! Outputs: what they may be, what becomes of their old contents, and who else writes them.

mod contents;
mod descriptors;
mod direction;
mod fifo;
mod start;
