//! Which privileges the programs need, as SQL to be read, adapted and run by whoever owns the database.

use std::fmt;

/// A kind of database, as far as privileges are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantsFor {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
    /// SQLite, which has none.
    Sqlite,
}

/// The users to whom privileges are given; on MySQL each may carry a host, as in `orders@10.0.0.%`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users {
    /// Runs the transactions, and consumes with an inbox.
    pub application: String,
    /// Answers checks.
    pub checker: String,
    /// Deletes old markers.
    pub purger: String,
}

/// The statements that give `users` what they need and nothing more, each on a line of its own.
#[must_use]
pub fn grants(engine: GrantsFor, users: &Users) -> String {
    let quote = match engine {
        GrantsFor::Postgres => postgres_name,
        GrantsFor::MySql => mysql_name,
        GrantsFor::Sqlite => {
            return "-- SQLite has no privileges: whoever may write the file may do everything.\n"
                .to_owned();
        }
    };
    let [application, checker, purger] =
        [&users.application, &users.checker, &users.purger].map(|user| quote(user));
    let mut text = Lines(String::new());
    text.line("-- The application writes markers, reads them back, and asks what became of them; its consumers use the inbox.");
    text.line(format_args!(
        "GRANT SELECT, INSERT ON escrow_marker TO {application};"
    ));
    text.line(format_args!(
        "GRANT SELECT ON escrow_meta TO {application};"
    ));
    text.line(format_args!(
        "GRANT SELECT, INSERT, DELETE ON escrow_inbox TO {application};"
    ));
    text.line("-- A checker can neither change nor delete what it finds.");
    text.line(format_args!(
        "GRANT SELECT, INSERT ON escrow_marker TO {checker};"
    ));
    text.line(format_args!("GRANT SELECT ON escrow_meta TO {checker};"));
    text.line("-- The purger raises the horizon and deletes below it; it can make no markers.");
    text.line(format_args!(
        "GRANT SELECT, DELETE ON escrow_marker TO {purger};"
    ));
    text.line(format_args!(
        "GRANT SELECT, UPDATE (purged_before) ON escrow_meta TO {purger};"
    ));
    match engine {
        GrantsFor::Postgres => {
            text.line("-- Optional: lets a check that finds the transaction open see all about the session that holds it.");
            text.line(format_args!("-- GRANT pg_read_all_stats TO {checker};"));
        }
        GrantsFor::MySql | GrantsFor::Sqlite => {
            text.line("-- Optional: lets a check that finds the transaction open name the session that holds it.");
            text.line(format_args!("-- GRANT PROCESS ON *.* TO {checker};"));
        }
    }
    text.0
}

struct Lines(String);

impl Lines {
    fn line(&mut self, line: impl fmt::Display) {
        self.0.push_str(&line.to_string());
        self.0.push('\n');
    }
}

fn postgres_name(user: &str) -> String {
    format!("\"{}\"", user.replace('"', "\"\""))
}

fn mysql_name(user: &str) -> String {
    let part = |text: &str| format!("`{}`", text.replace('`', "``"));
    match user.rsplit_once('@') {
        Some((name, host)) => format!("{}@{}", part(name), part(host)),
        None => part(user),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_the_engine_wants_it() {
        assert_eq!(postgres_name("a\"b"), "\"a\"\"b\"");
        assert_eq!(mysql_name("orders"), "`orders`");
        assert_eq!(mysql_name("o`r@10.%"), "`o``r`@`10.%`");
    }
}
