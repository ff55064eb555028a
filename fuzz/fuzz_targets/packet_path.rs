//! Inputs of libFuzzer through the packet path: see `multihome_common::exercise`.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use multihome_common::exercise::Exercise;

thread_local! {
    static EXERCISE: RefCell<Exercise> = RefCell::default();
}

fuzz_target!(|input: &[u8]| EXERCISE.with_borrow_mut(|exercise| exercise.run(input)));
