//! What readers and the writer have in common.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use crate::consume_queue::QueueFiles;
use crate::half_queue::{ENTRIES_PER_PAGE, HalfFiles, HalfQueue, Row, Where};
use crate::ids::narrow;
use crate::key_index::{KeyIndex, RunFiles};
use crate::log_view::LogView;
use crate::queues::QueueMap;
use crate::{Error, HalfSeq};

/// What readers share with the writer.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) log: Arc<LogView>,
    pub(crate) queues: Arc<QueueMap>,
    pub(crate) queue_files: QueueFiles,
    pub(crate) halfs: RwLock<HalfQueue>,
    pub(crate) half_files: HalfFiles,
    pub(crate) index: RwLock<KeyIndex>,
    pub(crate) run_files: RunFiles,
    /// A derived file was found damaged: the next open rebuilds them all from the log.
    pub(crate) wants_rebuild: AtomicBool,
}

impl Shared {
    /// Visits undecided halfs in order until `visit` breaks; lets the writer in now and then, however many there are.
    pub(crate) fn each_undecided(&self, mut visit: impl FnMut(HalfSeq, Row) -> ControlFlow<()>) {
        const AT_A_TIME: usize = 4096;
        let mut from = HalfSeq(0);
        loop {
            let halfs = self.halfs.read();
            let mut seen = 0;
            for (seq, row) in halfs.undecided_rows(from).take(AT_A_TIME) {
                if visit(seq, row).is_break() {
                    return;
                }
                from = HalfSeq(seq.0 + 1);
                seen += 1;
            }
            if seen < AT_A_TIME {
                return;
            }
        }
    }

    /// Remembers that a derived file is damaged, which costs nothing that the log does not have.
    pub(crate) fn noting_damage<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if matches!(result, Err(Error::Damaged { .. })) {
            self.wants_rebuild.store(true, Ordering::Relaxed);
        }
        result
    }

    /// What is known of a half, from memory or its file.
    pub(crate) fn half_row(&self, seq: HalfSeq) -> Result<Option<Row>, Error> {
        let place = self.halfs.read().locate(seq);
        match place {
            Where::Memory(row) => Ok(Some(row)),
            Where::File => self.noting_damage(self.half_files.row(seq)),
            Where::Left => {
                let rows = self.half_files.page_if_written(seq.0 / ENTRIES_PER_PAGE);
                let rows = self.noting_damage(rows)?.unwrap_or_default();
                let row = rows.get(narrow(seq.0 % ENTRIES_PER_PAGE));
                let row = row.copied().flatten();
                Ok(row.filter(|row| row.place >= self.log.start()))
            }
            Where::Nowhere => Ok(None),
        }
    }
}
