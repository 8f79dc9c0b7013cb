//! `escrow status`: how the broker is.

use clap::Args;
use serde_json::Value;

use crate::admin::{Admin, AdminArgs};
use crate::table::{Align, Table, duration};

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) async fn run(args: StatusArgs) -> anyhow::Result<()> {
    let admin = Admin::new(&args.admin)?;
    let answer = admin.get("/api/status").await?;
    if args.admin.json {
        println!("{answer}");
    } else {
        print!("{}", sheet(&answer, &FIRST));
    }
    Ok(())
}

/// What an operator looks for first.
const FIRST: [&str; 5] = [
    "pending",
    "parked",
    "oldest_pending_ms",
    "groups_without_checker",
    "per_second",
];

/// A JSON object as lines of name and value: the fields of `first`, then the others. What is nested is named
/// by its path.
pub(crate) fn sheet(object: &Value, first: &[&str]) -> String {
    let mut table = Table::new(&[("", Align::Left), ("", Align::Left)]);
    for name in first {
        if let Some(value) = object.get(name) {
            put(&mut table, name, value);
        }
    }
    for (name, value) in object.as_object().into_iter().flatten() {
        if !first.contains(&name.as_str()) {
            put(&mut table, name, value);
        }
    }
    table.render().trim_start_matches('\n').to_owned()
}

fn put(table: &mut Table, name: &str, value: &Value) {
    if let Value::Object(fields) = value {
        for (field, value) in fields {
            put(table, &format!("{name} {field}"), value);
        }
    } else {
        table.row([spoken(name), shown(name, value)]);
    }
}

/// A field's name in words; its unit is in the value.
fn spoken(name: &str) -> String {
    name.strip_suffix("_ms").unwrap_or(name).replace('_', " ")
}

fn shown(name: &str, value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_i64() {
            Some(ms) if name.ends_with("_ms") => duration(ms),
            Some(whole) => whole.to_string(),
            None => format!("{:.1}", number.as_f64().unwrap_or_default()),
        },
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| shown(name, item)).collect();
            items.join("; ")
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(field, value)| format!("{} {}", spoken(field), shown(field, value)))
                .collect();
            fields.join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_names_what_is_nested_by_its_path() {
        let value = serde_json::json!({
            "halfs": {"pending": 3, "oldest_ms": 61_000},
            "parked": null,
            "rate": 1.25,
            "waiting": [{"group": "g", "for_ms": 2_000}, {"group": "h"}],
            "none": [],
        });
        let shown = sheet(&value, &["rate"]);
        assert!(shown.starts_with("rate"), "{shown}");
        for line in [
            "halfs oldest   1m01s",
            "halfs pending  3",
            "parked         -",
            "rate           1.2",
            "waiting        for 2.0s, group g; group h",
            "none           none",
        ] {
            assert!(shown.lines().any(|l| l == line), "{line:?} not in\n{shown}");
        }
    }
}
