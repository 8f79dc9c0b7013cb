//! One database, kept in view: opened, looked after, waited for, opened again.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::database::{CheckQuery, Domain, OpenError, Reason, Tables, UrlSource, Verdict};

/// Connections to a database at most: one asks, one looks who is in its way.
const CONNECTIONS: u32 = 2;
/// Pauses between attempts to open a database: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How a database is.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// It answers.
    Ready {
        /// Its connections.
        tables: Tables,
        /// Which database it is.
        domain: Domain,
    },
    /// It does not.
    Down(OpenError),
}

/// A database of which markers are asked.
pub(super) struct Database {
    pub(super) source: UrlSource,
    state: RwLock<State>,
    /// A check found it out of reach.
    trouble: Notify,
}

impl Database {
    pub(super) fn new(source: UrlSource) -> Self {
        let state = State::Down(OpenError::Unreachable("not asked yet".to_owned()));
        Self {
            source,
            state: RwLock::new(state),
            trouble: Notify::new(),
        }
    }

    pub(super) fn state(&self) -> State {
        self.state.read().clone()
    }

    /// Which database it is, if it can be reached.
    pub(super) fn domain(&self) -> Option<Domain> {
        match &*self.state.read() {
            State::Ready { domain, .. } => Some(*domain),
            State::Down(_) => None,
        }
    }

    /// What became of a transaction.
    pub(super) async fn decide(&self, query: &CheckQuery) -> Verdict {
        let tables = match &*self.state.read() {
            State::Ready { tables, .. } => tables.clone(),
            State::Down(why) => return Verdict::Unknown(Reason::from(why.clone())),
        };
        let verdict = tables.decide(query).await;
        if matches!(verdict, Verdict::Unknown(Reason::Unreachable(_))) {
            self.trouble.notify_one();
        }
        verdict
    }

    /// Opens it once, and answers what was in the way.
    pub(super) async fn open(&self) -> Result<(), OpenError> {
        let opened = self.try_open().await;
        let (state, outcome) = match opened {
            Ok(ready) => (ready, Ok(())),
            Err(why) => (State::Down(why.clone()), Err(why)),
        };
        *self.state.write() = state;
        outcome
    }

    /// The URL is read anew each time: a password that was changed is found in its file.
    async fn try_open(&self) -> Result<State, OpenError> {
        let refused = |error: crate::database::UrlError| OpenError::Refused(error.to_string());
        let url = self.source.read().map_err(refused)?;
        let tables = Tables::at(&url, CONNECTIONS).map_err(refused)?;
        match tables.ready_for_checks().await {
            Ok(identity) => Ok(State::Ready {
                tables,
                domain: identity.domain,
            }),
            Err(why) => {
                tables.close().await;
                Err(why)
            }
        }
    }

    /// Looks after it for ever: every `interval`, and at once when a check found it out of reach.
    pub(super) async fn watch(self: Arc<Self>, interval: Duration) {
        let mut pause = PAUSE_MIN;
        loop {
            match self.state() {
                State::Ready { tables, domain } => {
                    pause = PAUSE_MIN;
                    // Whether the time is up or a check is in trouble: both call for a look.
                    let _ = timeout(interval, self.trouble.notified()).await;
                    self.look(&tables, domain).await;
                }
                State::Down(before) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                    match self.open().await {
                        Ok(()) => tracing::info!(database = %self.source, "database is back"),
                        Err(why) if why == before => {}
                        Err(why) => {
                            tracing::warn!(database = %self.source, %why, "database is down");
                        }
                    }
                }
            }
        }
    }

    async fn look(&self, tables: &Tables, domain: Domain) {
        match tables.identity().await {
            Ok(identity) if identity.domain == domain => {}
            Ok(identity) => {
                tracing::warn!(
                    database = %self.source, was = %domain, is = %identity.domain,
                    "database has another domain now"
                );
                *self.state.write() = State::Ready {
                    tables: tables.clone(),
                    domain: identity.domain,
                };
            }
            Err(why) => {
                tracing::warn!(database = %self.source, %why, "database is down");
                *self.state.write() = State::Down(why);
                tables.close().await;
            }
        }
    }
}
