//! The fuzz targets' corpus as a plain test: what fuzzing has found stays found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

#[path = "../../fuzz/corpus.rs"]
mod corpus;
mod decoders;

#[test]
fn every_file_of_the_corpus() {
    corpus::decode_every_file(&decoders::ALL);
}
