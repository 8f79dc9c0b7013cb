//! As in the store.

#[path = "../../../src/record/half.rs"]
pub(crate) mod half;
#[path = "../../../src/record/header.rs"]
pub(crate) mod header;
#[path = "../../../src/record/image.rs"]
pub(crate) mod image;
#[path = "../../../src/record/meta.rs"]
pub(crate) mod meta;
#[path = "../../../src/record/op.rs"]
pub(crate) mod op;
