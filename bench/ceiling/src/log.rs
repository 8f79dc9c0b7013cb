//! The file and its one writer thread: what is queued is written with one call, synced if so told, and answered.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{io, thread};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::request::Send;

/// Batches that may wait for the writer.
const QUEUE: usize = 1024;
/// Bytes written with one call, but for a batch's excess.
const WRITE_BYTES: usize = 4 * 1024 * 1024;

/// What one read of a socket brought.
pub(crate) struct Batch {
    /// Whole frames.
    pub(crate) frames: Bytes,
    /// Each send among them with the position of its frame.
    pub(crate) sends: Vec<(usize, Send)>,
    /// Plain messages and commits among them.
    pub(crate) visible: u64,
    pub(crate) done: mpsc::UnboundedSender<Written>,
}

/// A batch that is in the file, and on the disk if that was asked for.
pub(crate) struct Written {
    /// Where `frames` begin, counted from the start of the run.
    pub(crate) position: u64,
    pub(crate) frames: Bytes,
    pub(crate) sends: Vec<(usize, Send)>,
}

/// The way to the writer.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) batches: mpsc::Sender<Batch>,
    /// Plain messages and commits written.
    pub(crate) visible: Arc<AtomicU64>,
}

impl Log {
    /// Fills the file with zeros and starts the writer, which ends with the last sender.
    pub(crate) fn start(dir: &Path, file_bytes: u64, synced: bool) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let file = File::create(dir.join("log"))?;
        let zeros = vec![0; WRITE_BYTES];
        for at in (0..file_bytes).step_by(WRITE_BYTES) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        let (batches, queue) = mpsc::channel(QUEUE);
        let visible = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            file,
            file_bytes: file_bytes.max(WRITE_BYTES as u64),
            synced,
            queue,
            at: 0,
            position: 0,
            visible: Arc::clone(&visible),
        };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self { batches, visible })
    }
}

struct Writer {
    file: File,
    file_bytes: u64,
    synced: bool,
    queue: mpsc::Receiver<Batch>,
    /// Where the next write goes. At the end of the file it begins again.
    at: u64,
    /// Bytes written since the start.
    position: u64,
    visible: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self) {
        let (mut batches, mut bytes) = (Vec::new(), Vec::new());
        while let Some(first) = self.queue.blocking_recv() {
            bytes.extend_from_slice(&first.frames);
            batches.push(first);
            while bytes.len() < WRITE_BYTES {
                let Ok(next) = self.queue.try_recv() else {
                    break;
                };
                bytes.extend_from_slice(&next.frames);
                batches.push(next);
            }
            if let Err(error) = self.write(&bytes) {
                eprintln!("bench-ceiling: cannot write the log: {error}");
                std::process::exit(1);
            }
            bytes.clear();
            for batch in batches.drain(..) {
                self.visible.fetch_add(batch.visible, Ordering::AcqRel);
                let length = batch.frames.len() as u64;
                // A connection that is gone needs no answer.
                let _ = batch.done.send(Written {
                    position: self.position,
                    frames: batch.frames,
                    sends: batch.sends,
                });
                self.position += length;
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        if self.at + length > self.file_bytes {
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at)?;
        self.at += length;
        if self.synced {
            rustix::fs::fdatasync(&self.file)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(frames: &'static [u8], visible: u64, done: &mpsc::UnboundedSender<Written>) -> Batch {
        Batch {
            frames: Bytes::from_static(frames),
            sends: Vec::new(),
            visible,
            done: done.clone(),
        }
    }

    #[test]
    fn what_is_answered_is_in_the_file_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::start(folder.path(), 4 * 1024 * 1024, true).unwrap();
        let (done, mut answers) = mpsc::unbounded_channel();
        log.batches.blocking_send(batch(b"half", 0, &done)).unwrap();
        log.batches.blocking_send(batch(b"end", 1, &done)).unwrap();
        let positions: Vec<u64> = (0..2)
            .map(|_| answers.blocking_recv().unwrap().position)
            .collect();
        assert_eq!(positions, [0, 4]);
        assert_eq!(log.visible.load(Ordering::Acquire), 1);
        let file = std::fs::read(folder.path().join("log")).unwrap();
        assert_eq!(&file[..8], b"halfend\0");
    }
}
