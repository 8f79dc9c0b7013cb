//! One database against what the brokers said.

use std::collections::HashMap;
use std::fmt;

use anyhow::Context as _;
use escrow_broker::utc;
use escrow_client::database::PURGE_MARGIN;
use escrow_client::database::listing::{Marker, Range};
use serde_json::{Value, json};

use crate::databases::Database;

use super::ms;
use super::staging::{Decision, Staging};

/// What was found of one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Committed, and no broker has its half or a decision: the message will never be delivered.
    Lost,
    /// Committed, and its half was rolled back.
    CommittedAndRolledBack,
    /// Ruled out, and its message was delivered.
    RuledOutAndDelivered,
    /// Delivered, and its database knows nothing of it.
    DeliveredWithoutMarker,
    /// Committed, and the broker will ask: no difference.
    Pending,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::CommittedAndRolledBack => "committed-and-rolled-back",
            Self::RuledOutAndDelivered => "ruled-out-and-delivered",
            Self::DeliveredWithoutMarker => "delivered-without-marker",
            Self::Pending => "pending",
        }
    }
}

pub(super) struct Finding {
    kind: Kind,
    tx_id: String,
    database: String,
    marker: Option<Marker>,
    decision: Option<Decision>,
}

impl Finding {
    pub(super) fn is_difference(&self) -> bool {
        self.kind != Kind::Pending
    }

    pub(super) fn json(&self) -> Value {
        let marker = self.marker.as_ref();
        let decision = self.decision.as_ref();
        json!({
            "kind": self.kind.name(),
            "transaction_id": self.tx_id,
            "database": self.database,
            "marker": marker.map(|m| json!({"committed": m.committed, "born_at": m.born_at_ms})),
            "decision": decision.map(|d| json!({
                "outcome": d.outcome, "source": d.source, "group": d.group, "broker": d.broker,
                "decided_at": d.decided_at, "stored_at": d.stored_at,
            })),
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}  {}", self.kind.name(), self.tx_id, self.database)?;
        if let Some(marker) = &self.marker {
            let state = if marker.committed {
                "committed"
            } else {
                "ruled out"
            };
            write!(f, "  {state} {}", utc(marker.born_at_ms))?;
        }
        if let Some(decision) = &self.decision {
            let (outcome, source) = (&decision.outcome, &decision.source);
            write!(f, "  {outcome} by {source} {}", utc(decision.decided_at))?;
            write!(f, " at {}", decision.broker)?;
            if let Some(group) = &decision.group {
                write!(f, " of {group}")?;
            }
        }
        Ok(())
    }
}

pub(super) struct Comparison<'a> {
    pub(super) database: &'a Database,
    pub(super) staging: &'a mut Staging,
    /// Markers born from here
    pub(super) from_ms: i64,
    /// to before here are compared, by the database's clock.
    pub(super) before_ms: i64,
    /// A decision of what was stored before may be gone.
    pub(super) judged_from_ms: i64,
    /// Markers compared.
    pub(super) markers: u64,
    /// Transactions of which broker or database no longer know enough.
    pub(super) unjudged: u64,
}

impl Comparison<'_> {
    pub(super) async fn run(&mut self, tell: &mut impl FnMut(&Finding)) -> anyhow::Result<()> {
        let name = self.database.name.clone();
        self.markers(tell)
            .await
            .with_context(|| format!("database {name}"))?;
        self.decisions(tell)
            .await
            .with_context(|| format!("database {name}"))
    }

    /// Every marker of the time, against the decisions.
    async fn markers(&mut self, tell: &mut impl FnMut(&Finding)) -> anyhow::Result<()> {
        let mut after = String::new();
        loop {
            let range = Range {
                from_ms: self.from_ms,
                before_ms: self.before_ms,
                after: &after,
            };
            let page = self.database.tables.markers(&range).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after.clone_from(&last.tx_id);
            for marker in page {
                self.markers += 1;
                let decisions = self.staging.compared(&marker.tx_id).await?;
                let contradiction = contradiction(&marker, &decisions);
                let finding = match contradiction {
                    Some((kind, decision)) => (kind, Some(decision)),
                    None if !marker.committed || !decisions.is_empty() => continue,
                    None if self.staging.is_undecided(&marker.tx_id).await? => {
                        (Kind::Pending, None)
                    }
                    None if marker.born_at_ms < self.judged_from_ms => {
                        self.unjudged += 1;
                        continue;
                    }
                    None => (Kind::Lost, None),
                };
                tell(&self.finding(finding, Some(marker)));
            }
        }
    }

    /// Every decision that none of those markers belonged to: their markers may be older, younger, or missing.
    async fn decisions(&mut self, tell: &mut impl FnMut(&Finding)) -> anyhow::Result<()> {
        let horizon_ms = self.database.tables.horizon_ms().await? + ms(PURGE_MARGIN);
        let domain = self.database.domain.to_string();
        let mut after = String::new();
        loop {
            let ids = self.staging.not_compared(&domain, &after).await?;
            let Some(last) = ids.last() else {
                return Ok(());
            };
            after.clone_from(last);
            let found = self.database.tables.find(&ids).await?;
            let mut found: HashMap<String, Marker> =
                found.into_iter().map(|m| (m.tx_id.clone(), m)).collect();
            for id in ids {
                let decisions = self.staging.decisions(&id).await?;
                let marker = found.remove(&id);
                if let Some(marker) = marker {
                    if let Some((kind, decision)) = contradiction(&marker, &decisions) {
                        tell(&self.finding((kind, Some(decision)), Some(marker)));
                    }
                    continue;
                }
                let tagged = |d: &&Decision| d.is_commit() && d.domain.as_ref() == Some(&domain);
                let Some(commit) = decisions.iter().find(tagged) else {
                    continue;
                };
                if commit
                    .stored_at
                    .is_none_or(|stored_at| stored_at <= horizon_ms)
                {
                    self.unjudged += 1;
                } else {
                    let kind = Kind::DeliveredWithoutMarker;
                    tell(&self.finding((kind, Some(commit.clone())), None));
                }
            }
        }
    }

    fn finding(
        &self,
        (kind, decision): (Kind, Option<Decision>),
        marker: Option<Marker>,
    ) -> Finding {
        let of_decision = decision.as_ref().map(|d| d.tx_id.clone());
        let of_marker = marker.as_ref().map(|m| m.tx_id.clone());
        Finding {
            kind,
            tx_id: of_decision.or(of_marker).unwrap_or_default(),
            database: self.database.name.clone(),
            marker,
            decision,
        }
    }
}

/// The decision that says the opposite of the marker.
fn contradiction(marker: &Marker, decisions: &[Decision]) -> Option<(Kind, Decision)> {
    let opposite = decisions
        .iter()
        .find(|decision| decision.is_commit() != marker.committed)?;
    let kind = if marker.committed {
        Kind::CommittedAndRolledBack
    } else {
        Kind::RuledOutAndDelivered
    };
    Some((kind, opposite.clone()))
}
