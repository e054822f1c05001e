//! Integration tests: real processes and real sockets, everything on loopback.
//!
//! A test has three parties: a [`Client`](support::peer::Peer), the bridge
//! ([`Tcpreen`](support::tcpreen::Tcpreen)) and a [`Server`](support::peer::Server). Tests wait for events
//! with a deadline, never for a fixed time. `TCPREEN_UNDER_TEST` selects another program to test, such as
//! Debian's tcpreen 1.4.4; `TCPREEN_LONG=1` moves gigabytes.

#![allow(unreachable_pub, reason = "`support` is a library for the modules beside it")]

mod activation;
mod attack;
mod audit;
mod backlog;
mod backpressure;
mod bursts;
mod clients;
mod completions;
mod containers;
mod daemon;
mod demo;
mod diagnostics;
mod endurance;
mod extcap;
mod formats;
mod html;
mod inetd;
mod limits;
mod loss;
mod manual;
mod matching;
mod metrics;
mod modes;
mod names;
mod notify;
mod outputs;
mod package;
mod parts;
mod passwords;
mod pidfile;
mod policy;
mod promises;
mod reading;
mod record_first;
mod records;
mod relay;
mod replay;
mod roles;
mod sandbox;
mod set_uid;
mod shutdown;
mod statistics;
mod support;
mod templates;
mod units;
mod view;
mod weaknesses;
