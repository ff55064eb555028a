//! What `cargo xtask bench` measures: each module takes figures of one concern, in rounds that are
//! interleaved with those of what they are compared with.

pub mod figure;
