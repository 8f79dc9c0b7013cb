//! `escrow migrate`: the tables that a database needs.

use anyhow::{Context as _, bail};
use clap::Args;
use escrow_client::database::grants::{Users, grants};
use escrow_client::database::{Identity, Tables, UrlSource};

#[derive(Args, Debug)]
pub(crate) struct MigrateArgs {
    /// The database: postgres://…, mysql://…, sqlite:…, or env:NAME or file:PATH to read the URL from there
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<UrlSource>,
    /// Print the privileges that application, checker and purger need, as SQL; touch nothing
    #[arg(long, conflicts_with = "adopt")]
    grants: bool,
    /// With --grants: the user who runs the transactions
    #[arg(long, default_value = "app", value_name = "USER")]
    application: String,
    /// With --grants: the user who answers checks
    #[arg(long, default_value = "escrow_checker", value_name = "USER")]
    checker: String,
    /// With --grants: the user who deletes old markers
    #[arg(long, default_value = "escrow_purger", value_name = "USER")]
    purger: String,
    /// Give the database a new identity: after a backup of another one, or an older state of this one, was restored
    #[arg(long)]
    adopt: bool,
}

pub(crate) async fn run(args: MigrateArgs) -> anyhow::Result<()> {
    let Some(source) = args.database_url else {
        bail!("no database given: use --database-url URL or the variable DATABASE_URL");
    };
    let tables = Tables::at(&source.read()?, 1)?;
    if args.grants {
        let users = Users {
            application: args.application,
            checker: args.checker,
            purger: args.purger,
        };
        print!("{}", grants(tables.engine(), &users));
        return Ok(());
    }
    let migrated = migrate(&tables, args.adopt).await;
    let identity = migrated.with_context(|| format!("database {source}"))?;
    tables.close().await;
    println!("domain {} version {}", identity.domain, identity.version);
    Ok(())
}

async fn migrate(tables: &Tables, adopt: bool) -> anyhow::Result<Identity> {
    let migrated = match tables.migrate().await {
        Err(error) if error.to_string().contains("unable to open database file") => {
            bail!("{error}: append ?mode=rwc to the URL if it is to be made")
        }
        migrated => migrated?,
    };
    if adopt {
        return Ok(tables.adopt().await?);
    }
    Ok(migrated)
}
