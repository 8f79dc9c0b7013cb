//! `escrow demo` tells its whole story and keeps its books.

use tempfile::tempdir;

use crate::support::{escrow, printed, refusal};

#[test]
fn the_demo_ends_well() {
    let story = printed(escrow().args(["demo", "--orders", "50"]));
    assert!(story.contains("aborted before END_TRANSACTION"), "{story}");
    assert!(story.contains("the broker asked back"), "{story}");
    assert!(
        story.contains("orders in the database = messages delivered: 38 = 38"),
        "{story}"
    );
    assert!(story.contains("rolled back and delivered: 0"), "{story}");
}

#[test]
fn a_demo_that_cannot_end_in_time_fails() {
    let output = escrow()
        .args(["demo", "--orders", "50", "--within", "0"])
        .output()
        .unwrap();
    assert!(!output.status.success());
}

#[test]
fn a_folder_with_something_in_it_is_not_played_in() {
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("orders.db"), "older orders").unwrap();
    let refusal = refusal(escrow().args(["demo", "--keep"]).arg(folder.path()));
    assert!(refusal.contains("not empty"), "{refusal}");
}
