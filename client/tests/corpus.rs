//! The fuzz targets' corpus as a plain test: what fuzzing has found stays found.

#[path = "../../fuzz/corpus.rs"]
mod corpus;
mod decoders;

#[test]
fn every_file_of_the_corpus() {
    corpus::decode_every_file(&decoders::ALL);
}
