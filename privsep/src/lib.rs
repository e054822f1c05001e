//! Privilege separation: the mechanism, and nothing of the program that uses it.
//!
//! A program is split into *roles*, each a process of the same binary. A role is started by
//! [`spawn::Program::start`] with one [`channel::Channel`] as its only tie to the parent, and its life
//! is a ratchet of types: [`role::Entry`] → [`confine::Dropped`] → [`confine::Fenced`] →
//! [`confine::Locked`].
//!
//! * `Entry` proves that the process was really started as a role.
//! * `Dropped` proves that identity, groups, capabilities and limits are given up for good.
//! * `Fenced` proves that Landlock is on, as far as the kernel has it.
//! * `Locked` proves that seccomp is on, too. Whatever serves a peer takes a `&Locked`, so a
//!   role that could not install its cage cannot run: it fails closed, and the error names the step.
//!
//! Everything `unsafe` is in [`sys`]; every other module denies it.

#![deny(unsafe_code)]

pub mod channel;
pub mod confine;
pub mod landlock;
pub mod role;
pub mod seccomp;
pub mod spawn;
pub mod sys;
pub mod userns;
pub mod wire;

#[doc(hidden)]
pub use libc;
