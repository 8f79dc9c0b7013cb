//! The fuzz targets' corpus as a plain test, of what the store's files are made of.

#[path = "../../../fuzz/corpus.rs"]
mod corpus;
mod decoders;
mod source;

use source::*;

#[test]
fn every_file_of_the_corpus() {
    corpus::decode_every_file(&decoders::ALL);
}
