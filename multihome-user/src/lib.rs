//! The controller of a multihome gateway, as a library: configuration, the kernel side, probes,
//! health, and the loop that ties them together.

pub mod bfd;
pub mod cli;
pub mod config;
pub mod control;
pub mod controller;
pub mod dataplane;
pub mod delegation;
pub mod drain;
pub mod events;
pub mod exit;
pub mod explain;
pub mod fault;
pub mod flows;
pub mod health;
pub mod heartbeat;
pub mod hooks;
pub mod http;
pub mod human;
pub mod kernel_ports;
pub mod kernel_settings;
pub mod logging;
pub mod metrics;
pub mod netlink;
pub mod privilege;
pub mod probe;
pub mod quality;
pub mod ranking;
pub mod routes;
pub mod run;
pub mod run_dir;
pub mod segments;
pub mod state_dir;
pub mod status;
pub mod suspicion;
pub mod tls;
