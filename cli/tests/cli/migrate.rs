//! `escrow migrate`.

use crate::support::{escrow, printed, refusal};

#[test]
fn tables_are_made_once_and_keep_their_identity() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!(
        "sqlite:{}?mode=rwc",
        folder.path().join("orders.db").display()
    );
    let migrate = || printed(escrow().args(["migrate", "--database-url", &url]));
    let first = migrate();
    assert!(
        first.starts_with("domain ") && first.ends_with(" version 1\n"),
        "{first}"
    );
    assert_eq!(migrate(), first);
    // The variable serves as well, and `--adopt` draws a new identity.
    let adopted = printed(
        escrow()
            .args(["migrate", "--adopt"])
            .env("DATABASE_URL", &url),
    );
    assert_ne!(adopted, first);
    assert_eq!(migrate(), adopted);
}

#[test]
fn what_is_missing_is_said() {
    let said = refusal(escrow().arg("migrate"));
    assert!(
        said.contains("--database-url") && said.contains("DATABASE_URL"),
        "{said}"
    );
    let said = refusal(escrow().args(["migrate", "--database-url", "sqlite:/no/such/folder/x.db"]));
    assert!(said.contains("sqlite:/no/such/folder/x.db"), "{said}");
    let said = refusal(escrow().args([
        "migrate",
        "--database-url",
        "postgres://a:s3cret@127.0.0.1:1/x",
    ]));
    assert!(
        said.contains("postgres://a@127.0.0.1:1/x") && !said.contains("s3cret"),
        "{said}"
    );
}
