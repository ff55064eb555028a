//! The control socket: how `multihome status` and the like talk to the running controller.
//!
//! One request a connection: the client sends one line of JSON, the controller answers with one
//! line of JSON and closes. The socket lies in the run directory and is root's alone.

use std::path::{Path, PathBuf};

pub mod client;
pub mod protocol;
pub mod server;

pub use client::ControlError;
pub use protocol::{Request, Response};
pub use server::{BindError, ControlServer, Exchange};

/// The socket's path in a run directory.
pub fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join("control.sock")
}
