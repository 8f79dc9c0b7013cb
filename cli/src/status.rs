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
        print!("{}", sheet(&answer));
    }
    Ok(())
}

/// A JSON object as lines of name and value; what is nested is named by its path.
pub(crate) fn sheet(object: &Value) -> String {
    let mut table = Table::new(&[("", Align::Left), ("", Align::Left)]);
    put(&mut table, "", object);
    table.render().trim_start_matches('\n').to_owned()
}

fn put(table: &mut Table, name: &str, value: &Value) {
    let shown = match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let path = if name.is_empty() {
                    field.clone()
                } else {
                    format!("{name} {field}")
                };
                put(table, &path, value);
            }
            return;
        }
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_i64() {
            Some(ms) if name.ends_with("_ms") && !name.contains("timestamp") => duration(ms),
            Some(whole) => whole.to_string(),
            None => format!("{:.1}", number.as_f64().unwrap_or_default()),
        },
        other => other.to_string(),
    };
    let name = name.strip_suffix("_ms").unwrap_or(name).replace('_', " ");
    table.row([name, shown]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_names_what_is_nested_by_its_path() {
        let value = serde_json::json!({"halfs": {"pending": 3, "oldest_ms": 61_000}, "parked": null, "rate": 1.25});
        let shown = sheet(&value);
        for line in [
            "halfs oldest   1m01s",
            "halfs pending  3",
            "parked         -",
            "rate           1.2",
        ] {
            assert!(shown.lines().any(|l| l == line), "{line:?} not in\n{shown}");
        }
    }
}
