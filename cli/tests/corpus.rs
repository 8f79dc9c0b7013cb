//! The fuzz targets' corpus as a plain test: what fuzzing has found stays found.

#[path = "../src/age.rs"]
mod age;
#[allow(dead_code, reason = "only the reading of it is tested here")]
#[path = "../src/check_server/config.rs"]
mod config;
#[path = "../../fuzz/corpus.rs"]
mod corpus;
mod decoders;

#[test]
fn every_file_of_the_corpus() {
    corpus::decode_every_file(&decoders::ALL);
}
