//! What goes wrong, beside the network.

use super::start::ADMIN;
use super::traffic::Request;
use super::{Event, World, note};
use crate::disk::{Crash, Failure, FailureKind};
use crate::model::{Decision, HalfId, Item, Waited, What};

/// No record's head is longer.
const HEAD_BYTES_MAX: u64 = 256;

impl World {
    /// The fault clock ticks: each kind of fault has its chance.
    pub(super) fn chaos(&mut self) {
        if self.faults_are_over {
            return;
        }
        let pause = (self.plan.safety_ms / 100).max(50);
        let next = self.now_ms + self.dice.between(1, 2 * pause);
        self.agenda.at(next, Event::Chaos);
        let faults = self.plan.faults.clone();
        if self.dice.permille(faults.disconnect) {
            self.tally.add("connection closed");
            let client = self.dice.index(self.clients.len());
            let away = self.dice.below(8_000);
            self.disconnects(client, away);
        }
        if self.dice.permille(faults.long_absence) {
            self.tally.add("checkers of a group gone for long");
            let group = self.dice.below(self.plan.groups);
            let away = self.dice.below(self.plan.safety_ms.max(3_600_000));
            for client in 0..self.clients.len() {
                if self.clients[client].group == group {
                    self.disconnects(client, away);
                }
            }
        }
        if self.dice.permille(faults.clock_step) {
            self.tally.add("clock step");
            let by = self.dice.below(7_200_000).cast_signed();
            self.wall_ms += if self.dice.one_in(2) { by } else { -by };
            self.move_to(self.now_ms);
            note!(self, "clock steps to {}", self.wall());
            self.wake_for_round();
        }
        if self.dice.permille(faults.topic) {
            let topic = self.dice.below(self.plan.topics.len() as u64);
            self.tally.add("topic deleted");
            self.say_at_once(ADMIN, Request::DropTopic { topic });
            let back = self.now_ms + self.dice.below(100_000);
            self.agenda.at(back, Event::TopicBack(topic));
        }
        if self.dice.permille(faults.full_disk) {
            self.fill_disk();
        }
        if self.dice.permille(faults.flip) {
            // At times several files go bad at once.
            for _ in 0..*self.dice.pick(&[1, 1, 1, 4]) {
                self.flip();
            }
        }
        if self.dice.permille(faults.disk) {
            self.arm_disk();
        }
        if self.dice.permille(faults.read) {
            self.arm_reads();
        }
        if self.dice.permille(faults.crash) {
            self.crash();
        }
    }

    pub(super) fn topic_back(&mut self, topic: u64) {
        let known = self.plan.topics[usize::try_from(topic).unwrap_or(0)];
        let queues = if self.faults_are_over || self.dice.one_in(2) {
            known
        } else {
            u32::try_from(self.dice.between(1, u64::from(known))).unwrap_or(known)
        };
        if self.up.is_none() {
            return self.agenda.at(self.now_ms + 5_000, Event::TopicBack(topic));
        }
        self.say_at_once(ADMIN, Request::CreateTopic { topic, queues });
    }

    fn crash(&mut self) {
        let crash = if self.dice.one_in(2) {
            Crash::Power
        } else {
            Crash::Kill
        };
        if self.dice.one_in(3) {
            return self.end_now(crash);
        }
        // In the middle of some operation of the disk, soon.
        self.disk.arm(Failure {
            kind: FailureKind::Crash,
            after: self.dice.below(60),
            lasts: true,
        });
    }

    fn arm_disk(&mut self) {
        let kind = *self.dice.pick(&[
            FailureKind::Write,
            FailureKind::Sync,
            FailureKind::SyncForgets,
            FailureKind::SyncForgets,
        ]);
        self.disk.arm(Failure {
            kind,
            after: self.dice.below(40),
            lasts: self.dice.one_in(2),
        });
    }

    /// Reads of the running process fail, or of the one that comes up.
    fn arm_reads(&mut self) {
        self.disk.arm(Failure {
            kind: FailureKind::Read,
            after: self.dice.below(40),
            lasts: self.dice.one_in(4),
        });
    }

    /// A process that comes up meets a disk that does not give what it should.
    pub(super) fn arm_start(&mut self) {
        let chance = self.plan.faults.read.max(self.plan.faults.disk);
        if self.faults_are_over || !self.dice.permille(5 * chance) {
            return;
        }
        let kind = *self
            .dice
            .pick(&[FailureKind::Read, FailureKind::CacheDropped]);
        self.disk.arm(Failure {
            kind,
            after: self.dice.below(40),
            lasts: false,
        });
    }

    /// Others fill the disk, up to the last byte at times.
    fn fill_disk(&mut self) {
        if self.plan.capacity >= 1 << 40 {
            return;
        }
        self.tally.add("disk filled up");
        let left = *self.dice.pick(&[0, 4_096, 40_000, 300_000, 700_000]);
        let used = self.disk.look(|image| image.used());
        self.disk
            .hold(self.plan.capacity.saturating_sub(used + left));
        self.model.disk_failed = true;
        let room = self.now_ms + self.dice.below(60_000);
        self.agenda.at(room, Event::DiskHasRoom);
    }

    /// Turns a bit over, in what is known to be durable.
    fn flip(&mut self) {
        let files: Vec<(String, usize)> = self.disk.look(|image| {
            let files = image
                .sizes()
                .filter(|(name, size)| *size > 0 && may_rot(name));
            files.map(|(name, size)| (name.to_owned(), size)).collect()
        });
        if files.is_empty() {
            return;
        }
        let (name, byte) = self.place_of_flip(&files);
        let bit = u8::try_from(self.dice.below(8)).unwrap_or(0);
        let start: Option<u64> = name
            .strip_prefix("log/")
            .and_then(|start| start.parse().ok());
        let Some(start) = start else {
            self.tally.add("bit flipped in a derived file");
            self.model.derived_flipped = true;
            note!(self, "flip in {name} at {byte}");
            return self.disk.flip(&name, byte, bit);
        };
        let offset = start + byte as u64;
        // Damage behind the last stated watermark looks like a torn tail; and of a head with two wrong bytes nobody can say what
        // the record was.
        let is_near = |(_, _, other): &(String, u64, u64)| other.abs_diff(offset) < HEAD_BYTES_MAX;
        if offset >= self.model.stated || self.model.flips.iter().any(is_near) {
            return;
        }
        let is_beside = |(_, _, other): &(String, u64, u64)| other.abs_diff(offset) < 2_048;
        if self.model.flips.iter().any(is_beside) {
            self.tally.add("bit flipped in the log near another");
        }
        self.tally.add("bit flipped in the log");
        note!(
            self,
            "flip in {name} at {byte}, log offset {offset}: {:?}",
            self.model.spans.at(offset)
        );
        self.disk.flip(&name, byte, bit);
        self.model.flips.push((name, byte as u64, offset));
        match self.model.spans.at(offset).cloned() {
            Some(What::Half(id)) => self.touch(id),
            Some(What::Carried(halfs)) => halfs.into_iter().for_each(|id| self.touch(id)),
            Some(What::Plain(queue, offset)) => {
                let queue = self.model.queues.get_mut(&queue);
                if let Some(slot) = queue.and_then(|queue| queue.slots.get_mut(&offset)) {
                    slot.touched = true;
                }
            }
            Some(What::Delivery(waited)) => self.touch_delivery(waited),
            Some(What::Topic(_)) | None => {}
        }
    }

    fn touch_delivery(&mut self, waited: Waited) {
        let Some(delivery) = self.model.deliveries.get_mut(&waited) else {
            return;
        };
        delivery.touched = true;
        let (queue, offset) = (delivery.queue, delivery.offset);
        let slots = self.model.queues.get_mut(&queue);
        let slot = slots.and_then(|queue| queue.slots.get_mut(&offset));
        if let Some(slot) =
            slot.filter(|slot| matches!(slot.item, Item::Delivered { from, .. } if from == waited))
        {
            slot.touched = true;
        }
    }

    /// Anywhere, or near the last one in the log: in the same record or beside it.
    fn place_of_flip(&mut self, files: &[(String, usize)]) -> (String, usize) {
        let last = self.model.flips.last();
        let last = last.and_then(|(name, byte, _)| {
            let (_, size) = files.iter().find(|(file, _)| file == name)?;
            Some((name.clone(), usize::try_from(*byte).ok()?, *size))
        });
        if let Some((name, byte, size)) = last
            && self.dice.one_in(3)
        {
            let byte = byte + self.dice.index(4_000);
            return (name, byte.saturating_sub(2_000).min(size - 1));
        }
        let (name, size) = self.dice.pick(files).clone();
        let byte = self.dice.index(size);
        (name, byte)
    }

    fn touch(&mut self, id: HalfId) {
        self.model.half_mut(id).touched = true;
    }

    /// An operator looks at what is undecided, and does something about one of them.
    pub(super) fn operator(&mut self) {
        if self.faults_are_over {
            return;
        }
        let next = self.now_ms + self.dice.between(1, (self.plan.safety_ms / 10).max(1_000));
        self.agenda.at(next, Event::Operator);
        let halfs: Vec<HalfId> = self.model.present().map(|(id, _)| id).collect();
        if halfs.is_empty() {
            return;
        }
        let half = *self.dice.pick(&halfs);
        let request = match self.dice.below(4) {
            0 => Request::Operate {
                half,
                decision: Decision::Commit,
            },
            1 => Request::Operate {
                half,
                decision: Decision::Rollback,
            },
            2 => Request::Resume(half),
            _ => Request::CheckNow(half),
        };
        self.say_at_once(ADMIN, request);
    }
}

/// The lock of a process and what was cut off are nobody's concern.
fn may_rot(name: &str) -> bool {
    ["log/0", "half/", "queue/", "index/", "checkpoint/"]
        .iter()
        .any(|folder| name.starts_with(folder))
}
