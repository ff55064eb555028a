//! The kernel side as the controller sees it: load or adopt the programs, attach them, and typed
//! handles to every map.

mod attach;
mod counters;
mod detach;
mod egress;
mod error;
mod faults;
mod flows;
mod grace;
mod load;
mod names;
mod outside_ports;
mod pinned;
mod pins;
mod read_only;
mod redirect;
mod rules;
mod shared;
mod signals;
mod snapshot;
mod sweep;
mod tables;
mod tcp;
mod windows;
mod words;

pub use attach::Attached;
pub use counters::{CounterReader, PortCounters};
pub use detach::{Detached, Undo, detach};
pub use error::DataplaneError;
pub use faults::{FaultInForce, Faults, PinnedFaults};
pub use flows::{FlowTables, Sizes};
pub use load::{
    Dataplane, OBJECT, PROGRAM_EGRESS, PROGRAM_LAN, PROGRAM_TRUNK, PROGRAM_UPLINK, Runs, Tags,
};
pub use outside_ports::PortPlan;
pub use pinned::{PinnedError, PinnedFlows, TableBytes};
pub use rules::RuleReader;
pub use signals::{Passed, SignalReader, Signals};
pub use snapshot::Snapshot;
pub use sweep::Swept;
pub use tcp::{HandshakeTimes, TcpMeasure};
