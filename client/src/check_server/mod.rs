//! Answers checks from marker tables, for services that do not do it themselves: in any language, also while none
//! of their instances lives, and against any RocketMQ broker.
//!
//! A [`CheckServer`] is a member of each of its producer groups at every broker. A check is answered by asking the
//! database that the half names (its domain and shard): what is written there is what is said. Where that cannot be
//! known at the moment, the answer is "unknown" with a reason, and the broker asks again. Several servers may run
//! side by side: decisions are made in the database, so they cannot disagree.
//!
//! | module | what |
//! |---|---|
//! | `choice` | which database knows what became of a half |
//! | `group` | one producer group, and what is answered in its name |
//! | `database` | one database, opened, watched, waited for |
//! | [`counts`] | what was answered, and what somebody should look at |

mod choice;
pub mod counts;
mod database;
mod group;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Settings};
use crate::database::{OpenError, Untagged, UrlSource};
use crate::error::Error;
use crate::transaction::TransactionProducer;
use counts::Counts;
use database::{Database, State};
use group::Group;

/// How long the end of a server waits for checks that are being answered.
const ANSWERS_WITHIN: Duration = Duration::from_secs(8);
/// Pause between two looks at whether they are.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The longest pause between two looks at a database.
const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);

/// One producer group and where its markers are.
#[derive(Debug, Clone)]
pub struct GroupSettings {
    /// The producer group.
    pub name: String,
    /// Its databases, by shard (`ESCROW_SHARD`) where there are shards.
    pub databases: Vec<(Option<String>, UrlSource)>,
    /// What is said of halfs that do not name their database.
    pub untagged: Untagged,
}

/// What a check server needs to know.
#[derive(Debug, Clone)]
pub struct CheckServerSettings {
    /// Name servers and limits. `checks_max` bounds the checks of one group that are worked on at a time.
    pub client: Settings,
    /// The groups to answer for.
    pub groups: Vec<GroupSettings>,
    /// Pause between two looks at a database that answers.
    pub probe_interval: Duration,
}

/// Why a check server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something is not as it has to be. Each text names what, and the cure.
    #[error("{}", .0.join("; "))]
    Refused(Vec<String>),
    /// The client cannot start.
    #[error(transparent)]
    Client(#[from] Error),
}

/// How a server is.
#[derive(Debug, Clone)]
pub struct Health {
    /// The brokers, each with whether it is connected.
    pub brokers: Vec<(String, bool)>,
    /// The databases: where each is, and what is wrong with it.
    pub databases: Vec<(String, Option<OpenError>)>,
    /// The numbers of each group.
    pub groups: Vec<(String, Counts)>,
}

/// Answers checks, until it is shut down.
pub struct CheckServer {
    client: Client,
    producers: Vec<TransactionProducer>,
    groups: Vec<Arc<Group>>,
    databases: Vec<Arc<Database>>,
    watching: Mutex<JoinSet<()>>,
}

impl CheckServer {
    /// Opens the databases, then joins the groups at every broker that can be reached, and at the others later.
    ///
    /// A database that is out of reach is waited for, and so are the name servers.
    ///
    /// # Errors
    /// Settings that contradict each other, or a database that is not as it has to be.
    pub async fn start(settings: CheckServerSettings) -> Result<Self, StartError> {
        settings.check().map_err(StartError::Refused)?;
        let client = Client::start(settings.client).await?;
        let mut by_source = BTreeMap::new();
        let groups: Vec<Arc<Group>> = settings
            .groups
            .into_iter()
            .map(|group| Arc::new(group_of(group, &mut by_source, client.id())))
            .collect();
        let databases: Vec<Arc<Database>> = by_source.into_values().collect();
        open_all(&databases).await?;
        refuse_twins(&groups)?;
        let mut watching = JoinSet::new();
        for database in &databases {
            watching.spawn(Arc::clone(database).watch(settings.probe_interval));
        }
        let producers = groups.iter().map(|group| answer_for(&client, group));
        let server = Self {
            producers: producers.collect(),
            client,
            groups,
            databases,
            watching: Mutex::new(watching),
        };
        match server.client.join_all().await {
            Ok(brokers) => tracing::info!(brokers, "groups joined"),
            Err(error) => tracing::warn!(%error, "no broker joined yet"),
        }
        Ok(server)
    }

    /// How it is at present.
    #[must_use]
    pub fn health(&self) -> Health {
        let databases = self.databases.iter().map(|database| {
            let wrong = match database.state() {
                State::Ready { .. } => None,
                State::Down(why) => Some(why),
            };
            (database.source.to_string(), wrong)
        });
        let groups = self.groups.iter();
        Health {
            brokers: self.client.connections(),
            databases: databases.collect(),
            groups: groups
                .map(|group| (group.name.clone(), group.counts.lock().clone()))
                .collect(),
        }
    }

    /// Leaves the groups, answers what was asked before, and closes everything. Takes as long as brokers that do not
    /// answer are given; dropping the future leaves them to find out.
    pub async fn shutdown(&self) {
        for producer in &self.producers {
            producer.leave().await;
        }
        let deadline = Instant::now() + ANSWERS_WITHIN;
        let working = || self.groups.iter().any(|g| g.counts.lock().in_flight > 0);
        while working() && Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
        }
        self.client.close().await;
        self.watching.lock().abort_all();
        for database in &self.databases {
            if let State::Ready { tables, .. } = database.state() {
                tables.close().await;
            }
        }
    }
}

impl CheckServerSettings {
    /// Everything that contradicts itself, before anything is tried.
    fn check(&self) -> Result<(), Vec<String>> {
        let mut wrong = Vec::new();
        let mut names = BTreeSet::new();
        if self.groups.is_empty() {
            wrong.push("no producer group given: use --group GROUP=DATABASE_URL".to_owned());
        }
        // None at all would be a look without end; times beyond all calendars cannot be waited for.
        if !(Duration::from_millis(1)..=PROBE_INTERVAL_MAX).contains(&self.probe_interval) {
            let given = self.probe_interval;
            wrong.push(format!(
                "the probe interval is {given:?}, not from 1ms to 1d"
            ));
        }
        for group in &self.groups {
            let name = &group.name;
            if !names.insert(name) {
                wrong.push(format!("group {name} is given twice"));
            }
            let shards: BTreeSet<_> = group.databases.iter().map(|(shard, _)| shard).collect();
            if group.databases.is_empty() {
                wrong.push(format!("group {name} has no database"));
            }
            let named = group.databases.iter().filter(|(shard, _)| shard.is_some());
            if named.clone().count() > 0 && shards.contains(&None) {
                wrong.push(format!(
                    "group {name} has databases with and without shard: name the shard of each"
                ));
            }
            if named.clone().count() > shards.iter().filter(|shard| shard.is_some()).count() {
                wrong.push(format!("group {name} has two databases for one shard"));
            }
            let unnamed = group.databases.len() - named.count();
            if group.untagged == Untagged::Decide && unnamed > 1 {
                wrong.push(format!(
                    "group {name} has {unnamed} databases, so a half that names none cannot be decided: \
                     use --untagged commit-only"
                ));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

fn group_of(
    settings: GroupSettings,
    by_source: &mut BTreeMap<UrlSource, Arc<Database>>,
    client_id: &str,
) -> Group {
    let databases = settings.databases.into_iter().map(|(shard, source)| {
        let database = by_source
            .entry(source.clone())
            .or_insert_with(|| Arc::new(Database::new(source)));
        (shard, Arc::clone(database))
    });
    Group {
        databases: databases.collect(),
        name: settings.name,
        untagged: settings.untagged,
        decided_by: format!("check-server {client_id}"),
        counts: Mutex::default(),
    }
}

/// Tries each database once, all at the same time. What is merely out of reach is waited for later.
async fn open_all(databases: &[Arc<Database>]) -> Result<(), StartError> {
    let mut opening = JoinSet::new();
    for database in databases {
        let database = Arc::clone(database);
        opening.spawn(async move { (database.source.to_string(), database.open().await) });
    }
    let mut wrong = Vec::new();
    for (source, outcome) in opening.join_all().await {
        match outcome {
            Ok(()) => {}
            Err(OpenError::Refused(why)) => wrong.push(format!("database {source}: {why}")),
            Err(OpenError::Unreachable(why)) => {
                tracing::warn!(
                    database = source,
                    why,
                    "database is out of reach, waiting for it"
                );
            }
        }
    }
    wrong.sort();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(StartError::Refused(wrong))
    }
}

fn refuse_twins(groups: &[Arc<Group>]) -> Result<(), StartError> {
    let wrong: Vec<String> = groups
        .iter()
        .filter_map(|group| {
            let (one, other) = group.twins()?;
            Some(format!(
                "group {}: {} and {} say they are the same database: if one is a copy, run `escrow migrate --adopt` \
                 on it, else give the same URL for both",
                group.name, one.source, other.source
            ))
        })
        .collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(StartError::Refused(wrong))
    }
}

fn answer_for(client: &Client, group: &Arc<Group>) -> TransactionProducer {
    let answering = Arc::clone(group);
    TransactionProducer::new(client, &group.name, move |check| {
        let group = Arc::clone(&answering);
        async move { group.check(check).await }
    })
}
