//! Colours of lines on a terminal, chosen so that colour-blind people can distinguish client and server.

use crate::messages::Side;

pub(super) const RESET: &[u8] = b"\x1b[0m";
pub(super) const BOLD: &[u8] = b"\x1b[1m";
pub(super) const FAINT: &[u8] = b"\x1b[2m";
/// Begin and end of a match of `--match`: underlined and bold.
pub(super) const MATCH: &[u8] = b"\x1b[1;4m";
pub(super) const NO_MATCH: &[u8] = b"\x1b[22;24m";
/// Red, for failures.
pub(super) const TROUBLE: &[u8] = b"\x1b[31m";

/// Colour of a side: cyan or yellow.
pub(super) const fn of_side(side: Side) -> &'static [u8] {
    match side {
        Side::Client => b"\x1b[36m",
        Side::Server => b"\x1b[33m",
    }
}
