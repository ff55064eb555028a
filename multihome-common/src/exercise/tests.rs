//! The fuzzer's corpus, without the fuzzer; and random bytes.

use std::{fs, path::Path, prelude::v1::*};

use proptest::prelude::*;

use super::Exercise;

#[test]
fn what_the_fuzzer_has_found_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/packet_path");
    let mut exercise = Exercise::default();
    let mut inputs = 0;
    for entry in fs::read_dir(corpus).expect("the corpus is part of the project") {
        let path = entry.expect("it can be read").path();
        exercise.run(&fs::read(&path).expect("it can be read"));
        inputs += 1;
    }
    assert!(inputs > 50, "{inputs} inputs");
}

proptest! {
    /// Packets that are hardly any, so that the harness itself is right about all bytes.
    #[test]
    fn whatever_bytes_there_are_nothing_breaks(inputs in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let mut exercise = Exercise::default();
        for input in inputs {
            exercise.run(&input);
        }
    }
}
