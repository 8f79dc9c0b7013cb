//! How a process comes up, and how it ends.

use escrow_store::{Disk, ErrorKind, Store};
use std::sync::Arc;

use super::node::Up;
use super::traffic::{From, Request};
use super::{Event, World, note};
use crate::disk::{Crash, FailureKind};
use crate::seen::Seen;

/// Who speaks for the administrator.
pub(super) const ADMIN: From = From {
    client: usize::MAX,
    connection: 0,
};

impl World {
    /// The first process, the topics, and everybody's first step.
    pub(super) fn start(&mut self) {
        self.starts();
        let topics: Vec<(u64, u32)> = (0..).zip(self.plan.topics.iter().copied()).collect();
        for (topic, queues) in topics {
            self.say_at_once(ADMIN, Request::CreateTopic { topic, queues });
        }
        for client in 0..self.clients.len() {
            let at = self.now_ms + self.dice.below(2_000);
            self.agenda.at(at, Event::Connects(client));
            let at = at + self.dice.below(self.plan.pause_ms) + 1;
            self.agenda.at(at, Event::Begins(client));
        }
        for consumer in 0..self.consumers.len() {
            self.agenda.at(500, Event::Pulls(consumer));
        }
        if !self.plan.levels.is_empty() {
            self.agenda.at(600, Event::LevelsLook);
        }
        self.agenda.at(1_000, Event::Audit);
        self.agenda.at(700, Event::Chaos);
        self.agenda.at(3_000, Event::Operator);
    }

    /// A process tries to come up.
    pub(super) fn starts(&mut self) {
        if self.up.is_some() {
            return;
        }
        self.arm_start();
        let disk: Arc<dyn Disk> = Arc::clone(&self.disk) as Arc<dyn Disk>;
        let opened = Store::open(disk, self.plan.store.clone(), self.wall());
        self.disk.forget_cache_drop();
        self.count_disk_faults();
        if self.disk.is_dead() {
            note!(self, "crashed while opening");
            drop(opened);
            return self.ends(None, None);
        }
        match opened {
            Ok((store, report)) => self.is_up(store, &report),
            Err(error) => {
                note!(self, "does not open: {error}");
                let is_explained = self.model.disk_failed || self.disk.look(|_| self.is_full());
                if is_explained && error.kind() == ErrorKind::Stop {
                    return self.ends(None, Some(Crash::Kill));
                }
                self.breaks(
                    "G10 honest disk",
                    &format!("the store does not open: {error}"),
                );
            }
        }
    }

    fn is_full(&self) -> bool {
        self.plan.capacity < 1 << 40 || self.model.disk_failed
    }

    fn is_up(&mut self, store: Store, report: &escrow_store::RecoveryReport) {
        self.disk.watch(true);
        let floor = self.model.floor;
        let end = report
            .cut
            .as_ref()
            .map_or(store.end().0, |cut| cut.offset.0);
        let reopened = self.model.reopen(&store, self.crash, end);
        self.model.spans.cut(end);
        if report.rebuilt.is_some() || report.checkpoint.is_none() {
            self.model.derived_flipped = false;
        }
        self.model.disk_failed = false;
        self.model.reads_failed = false;
        note!(
            self,
            "open: {} records, checkpoint {:?}, cut {:?}, damaged {}, parked {:?}, rebuilt {:?}, lost {:?}",
            report.records,
            report.checkpoint,
            report.cut,
            report.damaged.len(),
            report.parked,
            report.rebuilt,
            reopened
                .lost
                .iter()
                .map(|lost| &lost.what)
                .collect::<Vec<_>>()
        );
        if report.cut.is_some() {
            self.tally.add("torn or unsynced tail cut");
        }
        let segment_bytes = self.plan.store.segment_bytes;
        // All of the log that is kept, from its beginning.
        let from = store.reader().log_range().0.0;
        let (durable, saved) = self.disk.look(|image| {
            let saved = image
                .sizes()
                .filter(|(name, _)| name.starts_with("lost+found/"))
                .map(|(name, size)| (name.to_owned(), size));
            (
                image.log_durable(segment_bytes, from),
                saved.collect::<Vec<_>>(),
            )
        });
        let log_end = store.end().0;
        let is_clean_behind = self
            .disk
            .look(|image| image.is_clean_behind(segment_bytes, log_end));
        self.see(&Seen::Opened {
            report,
            is_clean_behind,
            reopened: &reopened,
            floor,
            durable,
            saved: &saved,
        });
        self.consumers_go_on(&store.reader());
        self.disk.watch(false);
        let now = self.clock(self.now_ms);
        self.up = Some(Up::open(store, self.plan.coordinator(), self.now_ms, now));
        self.audit();
        self.wake_for_round();
    }

    /// The process is gone, as an injected crash left the disk or as told. Another one comes up after a while.
    pub(super) fn ends(&mut self, up: Option<Up>, crash: Option<Crash>) {
        let crash = crash.unwrap_or(if self.dice.one_in(2) {
            Crash::Power
        } else {
            Crash::Kill
        });
        self.tally.add(match crash {
            Crash::Power => "power loss",
            Crash::Kill => "process killed",
        });
        note!(self, "ends by {crash:?}");
        if up.as_ref().is_some_and(|up| up.syncing.is_some()) {
            self.tally.add("crash while a sync is on its way");
        }
        // What one that never came up has lost is lost as the one before it ended.
        let is_first = up.is_some();
        drop(up);
        if is_first || crash == Crash::Power {
            self.crash = crash;
        }
        self.boot += 1;
        self.round_at = None;
        self.disk = Arc::new(self.disk.reboot(crash));
        if self.dice.one_in(4) && self.disk.drop_cache() {
            self.tally.add("forgotten bytes gone from the cache");
            self.crash = Crash::Power;
        }
        self.see(&Seen::Crashed);
        for client in 0..self.clients.len() {
            self.clients[client].connection = None;
        }
        let boot = self.boot;
        self.agenda.retain(|event| match event {
            Event::Arrives(to, ..) => *to == boot,
            Event::Round | Event::CheckpointWritten(_) | Event::SyncIsOver(..) => false,
            _ => true,
        });
        let down = if self.faults_are_over {
            100
        } else {
            *self.dice.pick(&[5, 1_000, 30_000, 900_000])
        };
        let down = self.dice.below(down) + 1;
        self.agenda.at(self.now_ms + down, Event::Starts);
        for client in 0..self.clients.len() {
            let at = self.now_ms + down + self.dice.below(5_000);
            self.agenda.at(at, Event::Connects(client));
        }
    }

    pub(super) fn count_disk_faults(&mut self) {
        for kind in self.disk.take_happened() {
            self.tally.add(match kind {
                FailureKind::Crash => "crash in the middle of a disk operation",
                FailureKind::Write => "failed write",
                FailureKind::Sync => "failed sync",
                FailureKind::Read => "failed read",
                FailureKind::CacheDropped => "forgotten bytes gone from the cache",
                FailureKind::SyncForgets => "failed sync that forgets what reads still show",
            });
            match kind {
                FailureKind::Read => self.model.reads_failed = true,
                // Who was told that something is written did not expect a power loss: this is as good as one.
                FailureKind::CacheDropped => self.crash = Crash::Power,
                FailureKind::Crash
                | FailureKind::Write
                | FailureKind::Sync
                | FailureKind::SyncForgets => {
                    // A page of a derived file may be torn.
                    self.model.derived_flipped = true;
                }
            }
            self.model.disk_failed = true;
        }
    }

    pub(super) fn breaks(&mut self, guarantee: &str, what: &str) {
        note!(self, "BROKEN {guarantee}: {what}");
        if self.violation.is_none() {
            self.violation = Some(super::Violation {
                guarantee: guarantee.to_owned(),
                what: what.to_owned(),
                at_ms: self.now_ms,
            });
        }
    }
}
