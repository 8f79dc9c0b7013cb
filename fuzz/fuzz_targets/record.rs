#![no_main]

#[path = "../../store/tests/formats/decoders.rs"]
#[allow(dead_code)]
mod decoders;
#[path = "../../store/tests/formats/source/mod.rs"]
mod source;

use source::*;

libfuzzer_sys::fuzz_target!(|data: &[u8]| decoders::record(data));
