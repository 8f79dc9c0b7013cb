//! `escrow pending`: what is undecided, why, and an operator's decision.

use std::io::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::{Admin, AdminArgs, escape};
use crate::table::{Align, Table, bytes, duration};

/// What an operator looks for first in a half message.
const FIRST: [&str; 10] = [
    "id",
    "state",
    "waits",
    "topic",
    "group",
    "keys",
    "unique_key",
    "age_ms",
    "next_check_in_ms",
    "answered",
];

/// Rows asked for at once.
const PAGE_ROWS: usize = 500;

#[derive(Args, Debug)]
pub(crate) struct PendingArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(subcommand)]
    command: PendingCommand,
}

#[derive(Subcommand, Debug)]
enum PendingCommand {
    /// List undecided half messages, oldest first
    List {
        #[command(flatten)]
        filter: Filter,
        /// Rows at most
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Go on where an earlier list ended
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show one half message with its history
    Show { id: String },
    /// Decide that a half message is delivered
    Commit(Decision),
    /// Decide that a half message is never delivered
    Rollback(Decision),
    /// Ask its producer group now
    Check { id: String },
    /// Put a parked half message back into the check schedule
    Resume(Decision),
    /// List again and again
    Watch {
        #[command(flatten)]
        filter: Filter,
        /// Seconds between two looks
        #[arg(long, default_value_t = 2.0)]
        interval: f64,
        /// Looks to take; 0 for no end
        #[arg(long, default_value_t = 0)]
        count: u64,
        /// Rows at most
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
}

#[derive(Args, Debug)]
struct Filter {
    /// Only of this topic
    #[arg(long)]
    topic: Option<String>,
    /// Only of this producer group
    #[arg(long)]
    group: Option<String>,
    /// Only in this state: pending or parked
    #[arg(long)]
    state: Option<String>,
    /// Only older than this: 90s, 5m, 2h
    #[arg(long, value_name = "AGE")]
    older_than: Option<String>,
    /// Only with this unique key (transaction id)
    #[arg(long)]
    key: Option<String>,
}

#[derive(Args, Debug)]
struct Decision {
    id: String,
    /// Why; kept with the decision
    #[arg(long)]
    reason: String,
}

/// A half message as a list shows it.
#[derive(Deserialize)]
struct Row {
    id: String,
    state: String,
    topic: String,
    group: String,
    keys: Option<String>,
    size: u64,
    age_ms: i64,
    answered: u64,
    next_check_in_ms: Option<i64>,
    waits: String,
}

/// One entry of a half's history.
#[derive(Deserialize)]
struct Step {
    time: String,
    kind: String,
    source: String,
    client_id: String,
    address: String,
    reason: String,
}

pub(crate) async fn run(args: PendingArgs) -> anyhow::Result<()> {
    let admin = Admin::new(&args.admin)?;
    let json = args.admin.json;
    match args.command {
        PendingCommand::List {
            filter,
            limit,
            cursor,
        } => list(&admin, &filter, limit, cursor, json).await,
        PendingCommand::Show { id } => show(&admin, &id, json).await,
        PendingCommand::Commit(decision) => decide(&admin, "commit", &decision, json).await,
        PendingCommand::Rollback(decision) => decide(&admin, "rollback", &decision, json).await,
        PendingCommand::Resume(decision) => decide(&admin, "resume", &decision, json).await,
        PendingCommand::Check { id } => {
            let path = format!("/api/pending/{}/check", escape(&id));
            let answer = admin.post(&path, &json!({})).await?;
            let result = answer["check"].as_str().unwrap_or("asked for").to_owned();
            say(json, &answer, || format!("{id}: check {result}"));
            Ok(())
        }
        PendingCommand::Watch {
            filter,
            interval,
            count,
            limit,
        } => {
            watch(
                &admin,
                &filter,
                Duration::from_secs_f64(interval),
                count,
                limit,
                json,
            )
            .await
        }
    }
}

fn say(json: bool, answer: &Value, text: impl FnOnce() -> String) {
    if json {
        println!("{answer}");
    } else {
        println!("{}", text());
    }
}

fn query(filter: &Filter, limit: usize, cursor: Option<&str>) -> String {
    let mut parts = vec![format!("limit={limit}")];
    let fields = [
        ("topic", &filter.topic),
        ("group", &filter.group),
        ("state", &filter.state),
        ("older_than", &filter.older_than),
        ("key", &filter.key),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            parts.push(format!("{name}={}", escape(value)));
        }
    }
    if let Some(cursor) = cursor {
        parts.push(format!("cursor={}", escape(cursor)));
    }
    format!("/api/pending?{}", parts.join("&"))
}

/// Collects pages until there are `limit` rows; a page may be short because its scan was used up.
async fn pages(
    admin: &Admin,
    filter: &Filter,
    limit: usize,
    mut cursor: Option<String>,
) -> anyhow::Result<(Vec<Value>, Option<String>)> {
    let mut rows = Vec::new();
    loop {
        let want = (limit - rows.len()).min(PAGE_ROWS);
        let mut answer = admin.get(&query(filter, want, cursor.as_deref())).await?;
        if let Some(Value::Array(more)) = answer.get_mut("rows").map(Value::take) {
            rows.extend(more);
        }
        cursor = answer
            .get("next")
            .and_then(Value::as_str)
            .map(str::to_owned);
        if cursor.is_none() || rows.len() >= limit {
            return Ok((rows, cursor));
        }
    }
}

async fn list(
    admin: &Admin,
    filter: &Filter,
    limit: usize,
    cursor: Option<String>,
    json: bool,
) -> anyhow::Result<()> {
    let (rows, next) = pages(admin, filter, limit.max(1), cursor).await?;
    if json {
        println!("{}", json!({"rows": rows, "next": next}));
        return Ok(());
    }
    print!("{}", table_of(rows)?);
    if let Some(next) = next {
        println!("more: --cursor {next}");
    }
    Ok(())
}

fn table_of(rows: Vec<Value>) -> anyhow::Result<String> {
    let rows: Vec<Row> = serde_json::from_value(Value::from(rows))?;
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("STATE", Align::Left),
        ("TOPIC", Align::Left),
        ("GROUP", Align::Left),
        ("KEYS", Align::Left),
        ("SIZE", Align::Right),
        ("AGE", Align::Right),
        ("ANSWERED", Align::Right),
        ("NEXT CHECK", Align::Right),
        ("WAITS FOR", Align::Left),
    ]);
    for row in rows {
        table.row([
            row.id,
            row.state,
            row.topic,
            row.group,
            row.keys.unwrap_or_default(),
            bytes(row.size),
            duration(row.age_ms),
            row.answered.to_string(),
            row.next_check_in_ms
                .map_or_else(|| "-".to_owned(), duration),
            row.waits,
        ]);
    }
    Ok(table.render())
}

async fn show(admin: &Admin, id: &str, json: bool) -> anyhow::Result<()> {
    let mut answer = admin.get(&format!("/api/pending/{}", escape(id))).await?;
    if json {
        println!("{answer}");
        return Ok(());
    }
    let history = answer
        .as_object_mut()
        .and_then(|fields| fields.remove("history"))
        .unwrap_or_default();
    print!("{}", crate::status::sheet(&answer, &FIRST));
    let steps: Vec<Step> = serde_json::from_value(history)?;
    if steps.is_empty() {
        println!("\nno history yet");
        return Ok(());
    }
    let mut table = Table::new(&[
        ("TIME", Align::Left),
        ("WHAT", Align::Left),
        ("BY", Align::Left),
        ("CLIENT", Align::Left),
        ("ADDRESS", Align::Left),
        ("REASON", Align::Left),
    ]);
    for step in steps {
        table.row([
            step.time,
            step.kind,
            step.source,
            step.client_id,
            step.address,
            step.reason,
        ]);
    }
    print!("\n{}", table.render());
    Ok(())
}

async fn decide(admin: &Admin, what: &str, decision: &Decision, json: bool) -> anyhow::Result<()> {
    let path = format!("/api/pending/{}/{what}", escape(&decision.id));
    let answer = admin
        .post(
            &path,
            &json!({"reason": decision.reason, "operator": operator()}),
        )
        .await?;
    say(json, &answer, || {
        format!("{}: {}", decision.id, done(what, &answer))
    });
    Ok(())
}

/// What came of it: whether it was so before, and where a commit put the message.
fn done(what: &str, answer: &Value) -> String {
    let state = answer["decision"]
        .as_str()
        .or(answer["state"].as_str())
        .unwrap_or(what);
    if answer["repeated"] == true {
        return format!("{state} before, nothing changed");
    }
    let published = &answer["published"];
    match (
        published["topic"].as_str(),
        &published["queue_id"],
        &published["queue_offset"],
    ) {
        (Some(topic), Value::Number(queue), Value::Number(offset)) => {
            format!("{state}, at offset {offset} of {topic} queue {queue}")
        }
        _ => state.to_owned(),
    }
}

/// Who decides, for the record: the login name, as far as the system tells.
fn operator() -> String {
    ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

async fn watch(
    admin: &Admin,
    filter: &Filter,
    interval: Duration,
    count: u64,
    limit: usize,
    json: bool,
) -> anyhow::Result<()> {
    let mut looks = 0;
    loop {
        let (rows, next) = pages(admin, filter, limit.max(1), None).await?;
        if json {
            println!("{}", json!({"rows": rows, "next": next}));
        } else {
            let more = if next.is_some() { " (and more)" } else { "" };
            println!("{} undecided{more}", rows.len());
            println!("{}", table_of(rows)?);
        }
        std::io::stdout().flush()?;
        looks += 1;
        if looks == count {
            return Ok(());
        }
        tokio::time::sleep(interval).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_told_with_its_place() {
        let published = json!({"topic": "Orders", "queue_id": 1, "queue_offset": 7});
        let answer = json!({"decision": "commit", "repeated": false, "published": published});
        assert_eq!(
            done("commit", &answer),
            "commit, at offset 7 of Orders queue 1"
        );
        let answer = json!({"decision": "rollback", "repeated": true, "published": null});
        assert_eq!(
            done("rollback", &answer),
            "rollback before, nothing changed"
        );
    }

    #[test]
    fn filters_become_a_query() {
        let filter = Filter {
            topic: Some("a b".to_owned()),
            group: None,
            state: Some("parked".to_owned()),
            older_than: Some("5m".to_owned()),
            key: None,
        };
        assert_eq!(
            query(&filter, 10, Some("77")),
            "/api/pending?limit=10&topic=a%20b&state=parked&older_than=5m&cursor=77"
        );
    }
}
