//! Integration tests: real processes and real sockets, everything on loopback.
//!
//! A test has three parties: a [`Client`](support::peer::Peer), the bridge
//! ([`Tcpreen`](support::tcpreen::Tcpreen)) and a [`Server`](support::peer::Server). Tests wait for events
//! with a deadline, never for a fixed time. `TCPREEN_UNDER_TEST` selects another program to test, such as
//! Debian's tcpreen 1.4.4; `TCPREEN_LONG=1` moves gigabytes.

#![allow(unreachable_pub, reason = "`support` is a library for the modules beside it")]

mod compat;
mod ours;
mod support;
