//! What `purge` and `verify` work on: databases with the groups whose markers are in them, and the brokers of these.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use clap::Args;
use escrow_client::database::{Domain, Tables};

use crate::admin::{Admin, read_token};
use crate::check_server::GroupFlag;

#[derive(Args, Debug)]
pub(crate) struct DatabasesArgs {
    /// A producer group and the database that holds its markers; DATABASE_URL may be env:NAME or file:PATH. Name every
    /// group that uses a database: its markers do not say whose they are.
    #[arg(long, required = true, value_name = "GROUP[/SHARD]=DATABASE_URL")]
    group: Vec<GroupFlag>,
}

#[derive(Args, Debug)]
pub(crate) struct BrokersArgs {
    /// Admin API of each broker that serves the groups
    #[arg(long, value_name = "ADDR")]
    broker_admin: Vec<String>,
    /// File that holds the admin token, if the brokers want one
    #[arg(long, env = "ESCROW_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<std::path::PathBuf>,
}

impl BrokersArgs {
    pub(crate) fn admins(&self) -> anyhow::Result<Vec<Admin>> {
        let token = match &self.admin_token_file {
            Some(path) => Some(read_token(path)?),
            None => None,
        };
        let addresses = self.broker_admin.iter();
        Ok(addresses
            .map(|address| Admin::with_token(address, token.clone()))
            .collect())
    }
}

/// One database and the groups that use it.
pub(crate) struct Database {
    /// Where it is, without secrets.
    pub(crate) name: String,
    pub(crate) tables: Tables,
    pub(crate) domain: Domain,
    pub(crate) groups: Vec<String>,
}

impl DatabasesArgs {
    /// Each database once, by whatever URLs it was given.
    pub(crate) async fn open(&self) -> anyhow::Result<Vec<Database>> {
        let mut by_domain: BTreeMap<String, Database> = BTreeMap::new();
        for flag in &self.group {
            let name = flag.database.to_string();
            let url = flag.database.read()?;
            let tables = Tables::at(&url, 1)?;
            let identity = tables
                .identity()
                .await
                .with_context(|| format!("database {name}"))?;
            let database = by_domain
                .entry(identity.domain.to_string())
                .or_insert_with(|| Database {
                    name,
                    tables,
                    domain: identity.domain,
                    groups: Vec::new(),
                });
            if !database.groups.contains(&flag.group) {
                database.groups.push(flag.group.clone());
            }
        }
        if by_domain.is_empty() {
            bail!("no producer group given: use --group GROUP=DATABASE_URL");
        }
        Ok(by_domain.into_values().collect())
    }
}
