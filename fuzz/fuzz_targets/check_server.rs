#![no_main]

#[path = "../../cli/src/age.rs"]
mod age;
#[path = "../../cli/src/check_server/config.rs"]
#[allow(dead_code)]
mod config;
#[path = "../../cli/tests/decoders/mod.rs"]
#[allow(dead_code)]
mod decoders;

libfuzzer_sys::fuzz_target!(|data: &[u8]| decoders::check_server(data));
