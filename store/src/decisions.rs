//! Every decision in the log, in the order in which they were made: for those who compare what was decided with what is so
//! elsewhere. Reads the log from end to end in bounded pieces, beside the writer and up to what is durable.

use bytes::Bytes;
use escrow_protocol::message;
use escrow_protocol::transaction::Resolution;

use crate::log_view::Stored;
use crate::record::header::ALIGNMENT;
use crate::record::op::read_op_flags;
use crate::record::{CommitBody, HEADER_BYTES, HalfBody, Header, Kind, OpBody, RelocateBody};
use crate::recovery::scan::{Found, Scan};
use crate::segment::{SEGMENT_HEADER_BYTES, Segment};
use crate::state::Shared;
use crate::store::half_image;
use crate::{Error, HalfSeq, PhysicalOffset, Reader, Source};

/// Ops whose half is read in one piece of the walk, wanted or not.
const JOINED_MAX: usize = 2_000;

/// Which decisions, and how much of the log is read for one page.
#[derive(Clone, Copy, Debug)]
pub struct DecisionQuery<'a> {
    /// Only decisions about this producer group, and those whose half is gone so that nobody knows.
    pub group: Option<&'a str>,
    /// Only decisions made at or after this time, ms.
    pub since_ms: i64,
    /// Where the page before ended; `None` to begin.
    pub from: Option<PhysicalOffset>,
    /// Decisions on the page.
    pub decisions_max: usize,
    /// Bytes of the log that are walked through.
    pub bytes_max: u64,
}

/// One decision with what is still known of its half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionRecord {
    /// Its record.
    pub physical: PhysicalOffset,
    /// The half's place among all halfs.
    pub seq: HalfSeq,
    /// Commit or rollback.
    pub resolution: Resolution,
    /// Who decided.
    pub source: Source,
    /// When, ms.
    pub decided_at: i64,
    /// The half's handle; unknown if the op's body is damaged and the half is gone.
    pub handle: Option<PhysicalOffset>,
    /// When the half was stored, ms.
    pub stored_at: Option<i64>,
    /// Its real topic.
    pub topic: Option<String>,
    /// Its producer group.
    pub group: Option<String>,
    /// The half's wire image, unless it has left or is damaged.
    pub image: Option<Bytes>,
}

/// Some decisions, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecisionPage {
    /// What was found; may be nothing, and not the last page.
    pub decisions: Vec<DecisionRecord>,
    /// Where the next page begins; `None` if all that is durable was walked through.
    pub next: Option<PhysicalOffset>,
    /// Bytes that could not be read on the way: decisions in them are not listed.
    pub unreadable_bytes: u64,
    /// Time of the oldest record that is kept, ms, if that can be read: what was decided before has left.
    pub kept_since: Option<i64>,
}

impl Reader {
    /// Walks through the log for decisions, whose halfs it reads.
    ///
    /// # Errors
    /// The disk failed. Damage is stepped over and counted.
    pub fn decisions(&self, query: &DecisionQuery<'_>) -> Result<DecisionPage, Error> {
        let shared = &self.shared;
        // First the end, then the segments: what is durable by now lies in those that are there by then.
        let end = shared.log.durable();
        let segments = shared.log.open_segments();
        let at = match query.from {
            Some(from) => from.0.max(first_record(segments.first())),
            None => start_for(&segments, query.since_ms)?,
        };
        let mut walk = Walk {
            shared,
            scan: Scan::new(&segments, 0),
            at,
            end,
            limit: end.min(at.saturating_add(query.bytes_max.max(ALIGNMENT))),
            joined: 0,
            page: DecisionPage {
                kept_since: match segments.first() {
                    Some(oldest) => first_timestamp(oldest)?,
                    None => None,
                },
                ..DecisionPage::default()
            },
        };
        walk.run(query)?;
        Ok(walk.page)
    }
}

fn first_record(segment: Option<&Segment>) -> u64 {
    segment.map_or(0, |segment| segment.start + SEGMENT_HEADER_BYTES)
}

fn first_timestamp(segment: &Segment) -> Result<Option<i64>, Error> {
    let offset = first_record(Some(segment));
    let mut head = [0; HEADER_BYTES];
    segment.read(&mut head, offset)?;
    let header = Header::decode(&head, offset).ok();
    Ok(header.map(|header| header.store_timestamp))
}

/// Where the newest segment begins that begins before `since_ms`: store times never decrease.
fn start_for(segments: &[Segment], since_ms: i64) -> Result<u64, Error> {
    for segment in segments.iter().rev() {
        if first_timestamp(segment)?.is_some_and(|first| first < since_ms) {
            return Ok(first_record(Some(segment)));
        }
    }
    Ok(first_record(segments.first()))
}

struct Walk<'a> {
    shared: &'a Shared,
    scan: Scan<'a>,
    at: u64,
    /// The end of what is durable, and of what this page may look at.
    end: u64,
    limit: u64,
    joined: usize,
    page: DecisionPage,
}

impl Walk<'_> {
    fn run(&mut self, query: &DecisionQuery<'_>) -> Result<(), Error> {
        while self.at < self.limit
            && self.page.decisions.len() < query.decisions_max
            && self.joined < JOINED_MAX
        {
            let Some(segment) = self.scan.segment_of(self.at) else {
                return Ok(());
            };
            match self.scan.head_at(segment, self.at)? {
                Some(header) => self.take(segment, &header, query)?,
                None => self.step_over(segment, query)?,
            }
        }
        self.page.next = (self.at < self.end).then_some(PhysicalOffset(self.at));
        Ok(())
    }

    fn take(
        &mut self,
        segment: &Segment,
        header: &Header,
        query: &DecisionQuery<'_>,
    ) -> Result<(), Error> {
        let is_decision = matches!(header.kind, Kind::Commit | Kind::Rollback);
        if is_decision && header.store_timestamp >= query.since_ms {
            let op = match self.scan.at(segment, header.offset, None)? {
                Found::Record(stored) => Some(stored),
                // Its head says what was decided, and the half all the rest.
                _ => None,
            };
            self.joined += 1;
            let decision = self.shared.decision(header, op.as_ref())?;
            let is_wanted = query
                .group
                .zip(decision.group.as_deref())
                .is_none_or(|(wanted, group)| wanted == group);
            if is_wanted {
                self.page.decisions.push(decision);
            }
        }
        self.at = self.scan.behind(segment, header).unwrap_or(self.end);
        Ok(())
    }

    /// Damage: goes on behind what its head still explains, else at the next good head.
    fn step_over(&mut self, segment: &Segment, query: &DecisionQuery<'_>) -> Result<(), Error> {
        let found = self.scan.at(segment, self.at, None)?;
        let stated = match found {
            Found::BadHead {
                repaired: Some(header),
                ..
            } if header.end() <= segment.end() => return self.take(segment, &header, query),
            Found::BadHead { stated, .. } => stated,
            Found::Record(_) | Found::BadBody(_) | Found::Nothing => [0; 2],
        };
        let next = self
            .scan
            .next_good(self.at + ALIGNMENT, self.limit, stated)?
            .map_or(self.limit, |header| header.offset);
        self.page.unreadable_bytes += next - self.at;
        self.at = next;
        Ok(())
    }
}

/// What a half's own record says of it.
struct HalfTold {
    topic: String,
    group: String,
    stored_at: i64,
    image: Bytes,
}

impl Shared {
    fn decision(&self, header: &Header, op: Option<&Stored>) -> Result<DecisionRecord, Error> {
        let seq = HalfSeq(header.link);
        let body = op.and_then(|op| OpBody::decode(&op.body));
        let commit = op
            .filter(|_| header.kind == Kind::Commit)
            .and_then(|op| CommitBody::decode(&op.body))
            .map(|(_, commit)| commit);
        let row = unless_damaged(self.half_row(seq))?.flatten();
        let place = commit
            .map(|commit| commit.place)
            .or(row.map(|row| row.place));
        let half = match place {
            Some(place) => self.half_told(seq, place)?,
            None => None,
        };
        let (source, _) = read_op_flags(header.flags);
        Ok(DecisionRecord {
            physical: PhysicalOffset(header.offset),
            seq,
            resolution: match header.kind {
                Kind::Commit => Resolution::Commit,
                _ => Resolution::Rollback,
            },
            source,
            decided_at: header.store_timestamp,
            handle: body
                .map(|(op, _)| PhysicalOffset(op.handle))
                .or(row.map(|row| row.entry.handle)),
            stored_at: half
                .as_ref()
                .map(|half| half.stored_at)
                .or(commit.map(|commit| {
                    header
                        .store_timestamp
                        .saturating_sub_unsigned(commit.age_ms)
                }))
                .or(row.map(|row| row.entry.store_timestamp)),
            topic: commit
                .map(|commit| commit.topic.to_owned())
                .or_else(|| half.as_ref().map(|half| half.topic.clone())),
            group: half.as_ref().map(|half| half.group.clone()),
            image: half.map(|half| half.image),
        })
    }

    fn half_told(&self, seq: HalfSeq, place: u64) -> Result<Option<HalfTold>, Error> {
        let Some(stored) = unless_damaged(self.log.read(place, 0))? else {
            return Ok(None);
        };
        let told = |stored: &Stored| {
            let image = stored.body.slice_ref(half_image(stored)?);
            let (group, stored_at) = match stored.header.kind {
                Kind::Relocate => {
                    let carried = RelocateBody::decode(&stored.body)?;
                    (carried.half.group, carried.store_timestamp)
                }
                _ => {
                    let half = HalfBody::decode(&stored.body)?;
                    (half.group, stored.header.store_timestamp)
                }
            };
            let topic = message::decode(&image).ok()?.topic.to_owned();
            Some(HalfTold {
                topic,
                group: group.to_owned(),
                stored_at,
                image,
            })
        };
        let is_it = stored.header.link == seq.0;
        Ok(is_it.then(|| told(&stored)).flatten())
    }
}

fn unless_damaged<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Damaged { .. } | Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
