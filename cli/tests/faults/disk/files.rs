//! What is on the simulated disk, and what of it would survive a power cut.
//!
//! A file holds its present bytes and, of each page that was written since it was synced last, the bytes that are durable.
//! A folder holds its present names, its durable ones, and what was done to them since it was synced. Truncation is durable
//! at once, as where a journal has it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};

use crate::random::Random;

const PAGE: usize = 4096;
/// What a disk writes whole, or not at all.
const SECTOR: usize = 512;

pub(super) const ROOT: u64 = 1;

#[derive(Debug, Default)]
pub(super) struct File {
    bytes: Vec<u8>,
    durable_len: usize,
    /// By page.
    unsynced: BTreeMap<usize, Unsynced>,
}

#[derive(Debug)]
struct Unsynced {
    durable: Box<[u8; PAGE]>,
    /// A failed sync has marked it clean, as Linux does: it reads as written, and no sync will write it again.
    forgotten: bool,
}

impl File {
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn read(&self, offset: usize, size: usize) -> &[u8] {
        let end = (offset + size).min(self.bytes.len());
        self.bytes.get(offset..end).unwrap_or_default()
    }

    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        for page in offset / PAGE..end.div_ceil(PAGE) {
            let durable = self.page(page);
            let unsynced = self.unsynced.entry(page).or_insert_with(|| Unsynced {
                durable,
                forgotten: false,
            });
            unsynced.forgotten = false;
        }
        self.bytes[offset..end].copy_from_slice(data);
    }

    /// A page as it is, zeros beyond the end.
    fn page(&self, page: usize) -> Box<[u8; PAGE]> {
        let mut bytes = Box::new([0; PAGE]);
        let found = self.read(page * PAGE, PAGE);
        bytes[..found.len()].copy_from_slice(found);
        bytes
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.bytes.resize(len, 0);
        self.durable_len = self.durable_len.min(len);
        self.unsynced.retain(|page, _| page * PAGE < len);
    }

    pub(super) fn sync(&mut self) {
        self.durable_len = self.bytes.len();
        self.unsynced.retain(|_, page| page.forgotten);
    }

    pub(super) fn sync_fails(&mut self) {
        for page in self.unsynced.values_mut() {
            page.forgotten = true;
        }
    }

    /// Of each unsynced page nothing is left, or some of its sectors, or all.
    fn power_cut(&mut self, random: &mut Random) {
        for (page, unsynced) in std::mem::take(&mut self.unsynced) {
            let kept = match random.below(4) {
                _ if unsynced.forgotten => 0,
                0 => u64::MAX,
                1 => random.below(u64::MAX),
                _ => 0,
            };
            for sector in 0..PAGE / SECTOR {
                let from = page * PAGE + sector * SECTOR;
                let to = (from + SECTOR).min(self.bytes.len());
                if kept >> sector & 1 == 0 && from < to {
                    let old = &unsynced.durable[sector * SECTOR..][..to - from];
                    self.bytes[from..to].copy_from_slice(old);
                }
            }
        }
        if random.below(2) == 0 {
            self.bytes.truncate(self.durable_len);
        }
        self.durable_len = self.bytes.len();
    }
}

#[derive(Debug)]
enum NameOp {
    Put(OsString, u64),
    Remove(OsString),
}

impl NameOp {
    fn apply(&self, names: &mut BTreeMap<OsString, u64>) {
        match self {
            NameOp::Put(name, node) => names.insert(name.clone(), *node),
            NameOp::Remove(name) => names.remove(name),
        };
    }
}

#[derive(Debug, Default)]
pub(super) struct Folder {
    names: BTreeMap<OsString, u64>,
    durable: BTreeMap<OsString, u64>,
    unsynced: Vec<NameOp>,
}

impl Folder {
    fn apply(&mut self, op: NameOp) {
        op.apply(&mut self.names);
        self.unsynced.push(op);
    }

    pub(super) fn sync(&mut self) {
        self.durable = self.names.clone();
        self.unsynced.clear();
    }

    /// Of what was done to the names, some first part is left.
    fn power_cut(&mut self, random: &mut Random) {
        let kept = random.below(self.unsynced.len() as u64 + 1) as usize;
        for op in self.unsynced.drain(..).take(kept) {
            op.apply(&mut self.durable);
        }
        self.names = self.durable.clone();
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&OsString, u64)> {
        self.names.iter().map(|(name, node)| (name, *node))
    }
}

#[derive(Debug)]
pub(super) enum Node {
    File(File),
    Folder(Folder),
}

/// Everything by number; number 1 is the root.
#[derive(Debug)]
pub(super) struct Files {
    nodes: HashMap<u64, Node>,
    next: u64,
}

impl Files {
    pub(super) fn new() -> Files {
        Files {
            nodes: HashMap::from([(ROOT, Node::Folder(Folder::default()))]),
            next: ROOT + 1,
        }
    }

    pub(super) fn node(&self, number: u64) -> Option<&Node> {
        self.nodes.get(&number)
    }

    pub(super) fn file(&mut self, number: u64) -> Option<&mut File> {
        match self.nodes.get_mut(&number) {
            Some(Node::File(file)) => Some(file),
            _ => None,
        }
    }

    pub(super) fn folder(&mut self, number: u64) -> Option<&mut Folder> {
        match self.nodes.get_mut(&number) {
            Some(Node::Folder(folder)) => Some(folder),
            _ => None,
        }
    }

    pub(super) fn find(&mut self, folder: u64, name: &OsStr) -> Option<u64> {
        self.folder(folder)?.names.get(name).copied()
    }

    pub(super) fn add(&mut self, folder: u64, name: &OsStr, node: Node) -> Option<u64> {
        let number = self.next;
        self.folder(folder)?
            .apply(NameOp::Put(name.to_owned(), number));
        self.next += 1;
        self.nodes.insert(number, node);
        Some(number)
    }

    /// The node stays for whoever has it open, and since its name may come back.
    pub(super) fn remove(&mut self, folder: u64, name: &OsStr) -> Option<u64> {
        let number = self.find(folder, name)?;
        self.folder(folder)?.apply(NameOp::Remove(name.to_owned()));
        Some(number)
    }

    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Option<()> {
        let number = self.find(from.0, from.1)?;
        self.folder(to.0)?
            .apply(NameOp::Put(to.1.to_owned(), number));
        self.folder(from.0)?
            .apply(NameOp::Remove(from.1.to_owned()));
        Some(())
    }

    /// What is not durable is lost, more or less of it.
    pub(super) fn power_cut(&mut self, random: &mut Random) {
        // In the order of the numbers, so that a seed means something.
        let mut numbers: Vec<u64> = self.nodes.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            match self.nodes.get_mut(&number) {
                Some(Node::File(file)) => file.power_cut(random),
                Some(Node::Folder(folder)) => folder.power_cut(random),
                None => {}
            }
        }
        let mut named = vec![ROOT];
        let mut at = 0;
        while let Some(number) = named.get(at).copied() {
            if let Some(folder) = self.folder(number) {
                named.extend(folder.names().map(|(_, node)| node));
            }
            at += 1;
        }
        self.nodes.retain(|number, _| named.contains(number));
    }
}
