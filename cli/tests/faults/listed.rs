//! What an operator sees undecided.

use std::collections::HashSet;

use serde_json::Value;

use crate::broker::Serve;
use crate::ledger::Ledger;

/// Every acknowledged half that nobody decided is listed, and none that is decided.
pub(crate) fn as_the_ledger_says(serve: &Serve, ledger: &Ledger) {
    let listed = undecided(serve, "");
    for (key, _) in ledger.halfs(usize::MAX, |half| half.sent.is_none()) {
        assert!(listed.contains(&key), "{key}: undecided and not listed");
    }
    for (key, _) in ledger.halfs(usize::MAX, |half| half.acked.is_some()) {
        assert!(!listed.contains(&key), "{key}: decided and still listed");
    }
}

/// The unique keys of the undecided halfs for which `filter` holds.
pub(crate) fn undecided(serve: &Serve, filter: &str) -> HashSet<String> {
    let mut keys = HashSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let (status, page) = serve.get(&format!("/api/pending?limit=500&cursor={cursor}{filter}"));
        assert_eq!(status, 200, "{page}");
        let rows = page["rows"].as_array().unwrap();
        keys.extend(rows.iter().map(|row| text(&row["unique_key"])));
        match &page["next"] {
            Value::Null => return keys,
            next => cursor = text(next),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
