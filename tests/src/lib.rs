//! What the tests, the demo and the measurements of multihome are built from.

pub mod bench;
pub mod binary;
pub mod demo;
pub mod failover;
pub mod lab;
mod measured;
pub mod model;
pub mod percentiles;
pub mod prog_run;
pub mod traffic;
pub mod vm;
