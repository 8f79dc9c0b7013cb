use super::*;
use crate::MemoryDisk;

fn sorted(items: &[Item]) -> impl Iterator<Item = Result<Item, crate::Error>> {
    let mut items = items.to_vec();
    items.sort_unstable();
    items.into_iter().map(Ok)
}

#[test]
fn a_run_finds_what_it_holds_also_across_pages() {
    let files = RunFiles::new(Arc::new(MemoryDisk::new()));
    let mut items: Vec<Item> = (0..2000).map(|n| (n * 10, n)).collect();
    items.extend((0..600).map(|n| (5005, 10_000 + n)));
    let run = files.write(7, sorted(&items)).unwrap();
    assert!(files.is_whole(&run).unwrap());
    assert_eq!(files.find(&run, 5010).unwrap(), [501]);
    assert_eq!(files.find(&run, 5011).unwrap(), Vec::<u64>::new());
    assert_eq!(files.find(&run, 5005).unwrap().len(), 600);
    assert_eq!(files.find(&run, 0).unwrap(), [0]);
    assert_eq!(files.find(&run, u64::MAX).unwrap(), Vec::<u64>::new());
    assert_eq!(run.physical_max, 10_599);
}

#[test]
fn many_runs_of_one_size_become_one() {
    let files = RunFiles::new(Arc::new(MemoryDisk::new()));
    let runs: Vec<Arc<Run>> = (0..8)
        .map(|id| Arc::new(files.write(id, sorted(&[(1, id), (id + 2, id)])).unwrap()))
        .collect();
    let mut next = 8;
    let merged = files.merge(runs, &mut next).unwrap();
    assert_eq!((merged.len(), next), (1, 9));
    assert_eq!(files.find(&merged[0], 1).unwrap(), [7, 6, 5, 4, 3, 2, 1, 0]);
    files.remove_unused(&merged).unwrap();
    assert!(!files.is_whole(&Run::new(0, 2, 0)).unwrap());
}

#[test]
fn memory_answers_newest_first() {
    let mut index = KeyIndex::default();
    index.extend((0..10_000).map(|n| (n % 5000, n)));
    assert_eq!(index.recent(42).0, [5042, 42]);
    let blocks = index.take_blocks();
    index.written(blocks.len(), Vec::new());
    assert_eq!(index.recent(42).0, Vec::<u64>::new());
}
