//! From a handle to the half that it was given to.

use std::ops::ControlFlow;

use crate::half_queue::{ENTRIES_PER_PAGE, Row, Where};
use crate::ids::narrow;
use crate::state::Shared;
use crate::{Error, HalfSeq, PhysicalOffset};

impl Shared {
    /// The half with this handle: handles grow with the sequence, so that a search finds it where its record cannot be read.
    pub(crate) fn find_handle(&self, handle: PhysicalOffset) -> Result<Option<HalfSeq>, Error> {
        let (first, next) = {
            let halfs = self.halfs.read();
            (halfs.first_kept(), halfs.next().0)
        };
        // Undecided ones outlive the files' beginning.
        let mut carried = None;
        self.each_undecided(|seq, row| {
            if row.entry.handle == handle {
                carried = Some(seq);
            }
            // Handles grow with the sequence.
            if seq.0 < first && row.entry.handle < handle {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        if carried.is_some() {
            return Ok(carried);
        }
        // Those that were decided after they had been carried come before those whose records are in the log.
        let mut damaged = None;
        for (low, high) in [(0, first), (first, next)] {
            let found = self.search_handle(handle, low, high, &mut damaged)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        // It may be in a page that cannot be read.
        damaged.map_or(Ok(None), Err)
    }

    /// A binary search among the sequences from `low` up to and without `high`. Damaged pages, the first of which goes to `damaged`,
    /// are passed over: they hide no other page's halfs.
    fn search_handle(
        &self,
        handle: PhysicalOffset,
        mut low: u64,
        mut high: u64,
        damaged: &mut Option<Error>,
    ) -> Result<Option<HalfSeq>, Error> {
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first_row(middle, high, damaged)? {
                Some((seq, row)) if row.entry.handle == handle => return Ok(Some(seq)),
                Some((seq, row)) if row.entry.handle < handle => low = seq.0 + 1,
                _ => high = middle,
            }
        }
        Ok(None)
    }

    /// The first half from `from` on, before `end`, of which anything is known. Places that damage took, or retention, are vacant.
    fn first_row(
        &self,
        from: u64,
        end: u64,
        damaged: &mut Option<Error>,
    ) -> Result<Option<(HalfSeq, Row)>, Error> {
        let mut at = from;
        while let Some(next) = self.next_known(at, end)? {
            at = next;
            let page = at / ENTRIES_PER_PAGE;
            let page_end = (page + 1) * ENTRIES_PER_PAGE;
            let mut rows = None;
            for seq in at..page_end.min(end) {
                let place = self.halfs.read().locate(HalfSeq(seq));
                let row = match place {
                    Where::Memory(row) => Some(row),
                    Where::Nowhere => None,
                    Where::File | Where::Left => {
                        let rows = match &rows {
                            Some(rows) => rows,
                            None => rows.insert(match self.rows(page, place) {
                                Err(error @ Error::Damaged { .. }) => {
                                    damaged.get_or_insert(error);
                                    Vec::new()
                                }
                                read => read?,
                            }),
                        };
                        rows.get(narrow(seq % ENTRIES_PER_PAGE)).copied().flatten()
                    }
                };
                if let Some(row) = row {
                    return Ok(Some((HalfSeq(seq), row)));
                }
            }
            at = page_end;
        }
        Ok(None)
    }

    /// The first sequence from `at` on, before `end`, whose page may say something. Of those that retention has let go only few
    /// pages are left, and as many halfs may have been before them as there ever were: nobody can look at each.
    fn next_known(&self, at: u64, end: u64) -> Result<Option<u64>, Error> {
        let (first_kept, in_memory) = {
            let halfs = self.halfs.read();
            (halfs.first_kept(), halfs.next_in_memory(at))
        };
        let next = if at < first_kept {
            let page = self.half_files.next_in_a_file(at / ENTRIES_PER_PAGE)?;
            let in_a_file = page.map(|page| at.max(page.saturating_mul(ENTRIES_PER_PAGE)));
            let next = [in_memory, in_a_file].into_iter().flatten().min();
            next.unwrap_or(first_kept).min(first_kept)
        } else {
            at
        };
        Ok((next < end).then_some(next))
    }

    fn rows(&self, page: u64, place: Where) -> Result<Vec<Option<Row>>, Error> {
        let rows = match place {
            Where::Left => self
                .half_files
                .page_if_written(page)
                .map(Option::unwrap_or_default),
            _ => self.half_files.page(page),
        };
        self.noting_damage(rows)
    }
}
