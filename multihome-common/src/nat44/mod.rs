//! NAT44: one inside IPv4 address and port behind one outside address and port, for each uplink.

pub mod open;
pub mod ports;
pub mod quoted;
#[cfg(test)]
mod tests;
pub mod translate;
