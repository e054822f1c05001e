//! Privilege separation: the mechanism, independent of the program that uses it.
//!
//! A program is split into *roles*, each a process of the same binary. [`spawn::Program::start`] starts a role with
//! one [`channel::Channel`] as its only connection to the parent. The role then goes through a ratchet of types:
//! [`role::Entry`] → [`confine::Dropped`] → [`confine::LandlockApplied`] → [`confine::Confined`].
//!
//! * `Entry` proves that the process was started as a role.
//! * `Dropped` proves that identity, groups, capabilities and limits are given up for good.
//! * `LandlockApplied` proves that Landlock is on, as far as the kernel has it.
//! * `Confined` proves that seccomp is on, too. Code that serves a peer takes a `&Confined`, so that a role
//!   without its filter cannot run: it fails closed, with an error that names the step.
//!
//! All `unsafe` code is in [`sys`]; every other module denies it.

#![deny(unsafe_code)]

pub mod channel;
pub mod confine;
#[cfg(test)]
mod contracts;
pub mod landlock;
pub mod memory;
pub mod role;
pub mod seccomp;
pub mod spawn;
pub mod sys;
pub mod text;
pub mod userns;
pub mod wire;

#[doc(hidden)]
pub use libc;
