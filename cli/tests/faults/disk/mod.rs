//! A disk of our own, in memory and mounted by FUSE, that fails when it is told to and forgets at a power cut what was not
//! synced.

mod files;
mod fuse;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption};

use crate::mounts::MountPoint;
use crate::random::Random;
use files::Files;
use fuse::Fuse;

/// What the disk does wrong.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// After so many more syncs, of files or folders, one fails.
    pub(crate) sync_fails_after: Option<u64>,
    /// After so many more writes one fails.
    pub(crate) write_fails_after: Option<u64>,
    /// Every read fails.
    pub(crate) reads_fail: bool,
    /// Every sync of a file takes so long.
    pub(crate) sync_takes: Option<Duration>,
    /// How often something failed.
    pub(crate) struck: u64,
}

#[derive(Debug)]
struct State {
    files: Files,
    faults: Faults,
}

impl State {
    fn sync_fails(&mut self) -> bool {
        let fails = is_up(&mut self.faults.sync_fails_after);
        self.faults.struck += u64::from(fails);
        fails
    }

    fn write_fails(&mut self) -> bool {
        let fails = is_up(&mut self.faults.write_fails_after);
        self.faults.struck += u64::from(fails);
        fails
    }

    fn reads_fail(&mut self) -> bool {
        self.faults.struck += u64::from(self.faults.reads_fail);
        self.faults.reads_fail
    }

    fn slow(&mut self) -> Option<Duration> {
        self.faults.struck += u64::from(self.faults.sync_takes.is_some());
        self.faults.sync_takes
    }
}

/// Counts down; true once, at zero.
fn is_up(after: &mut Option<u64>) -> bool {
    let Some(left) = after else {
        return false;
    };
    if *left == 0 {
        *after = None;
        return true;
    }
    *left -= 1;
    false
}

/// The mounted disk; unmounted when dropped. A broker on it must have ended before.
pub(crate) struct Disk {
    state: Arc<Mutex<State>>,
    session: Option<BackgroundSession>,
    at: MountPoint,
}

impl Disk {
    pub(crate) fn mount() -> Disk {
        let at = MountPoint::new("disk");
        let state = Arc::new(Mutex::new(State {
            files: Files::new(),
            faults: Faults::default(),
        }));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("escrow-faults".to_owned())];
        let fuse = Fuse(Arc::clone(&state));
        let session = fuser::spawn_mount(fuse, at.path(), &config).unwrap_or_else(|error| {
            panic!("cannot mount a FUSE file system ({error}): it takes root, and /dev/fuse (modprobe fuse)")
        });
        Disk {
            state,
            session: Some(session),
            at,
        }
    }

    /// A data folder on it.
    pub(crate) fn folder(&self) -> PathBuf {
        Path::join(self.at.path(), "data")
    }

    pub(crate) fn faults(&self) -> impl std::ops::DerefMut<Target = Faults> + '_ {
        Guard(self.state())
    }

    /// To be called when nobody works on it.
    pub(crate) fn power_cut(&self, random: &mut Random) {
        self.state().files.power_cut(random);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.session.take());
    }
}

struct Guard<'a>(MutexGuard<'a, State>);

impl std::ops::Deref for Guard<'_> {
    type Target = Faults;

    fn deref(&self) -> &Faults {
        &self.0.faults
    }
}

impl std::ops::DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut Faults {
        &mut self.0.faults
    }
}
