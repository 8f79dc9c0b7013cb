//! Only the engines whose SQL is tested can hold markers.

use escrow_client::database::BoundProducer;

struct Other;

fn misuse(_: BoundProducer<Other>) {}

fn main() {}
