//! The invoke story below its plugins: real sockets and tasks, an engine that fails on purpose.

mod api;
mod faults;
mod init;
mod records;
mod rig;
mod runtime;
mod waiting;
