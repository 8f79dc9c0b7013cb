//! Where file systems are mounted, and that none of them stays.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

const PREFIX: &str = "escrow-faults-";

/// A folder to mount something on; unmounted and removed when dropped.
pub(crate) struct MountPoint {
    path: PathBuf,
}

impl MountPoint {
    pub(crate) fn new(name: &str) -> MountPoint {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        clear_up_after_others();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let own = format!("{PREFIX}{}-{name}-{number}", std::process::id());
        let path = std::env::temp_dir().join(own);
        std::fs::create_dir_all(&path).unwrap();
        MountPoint { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for MountPoint {
    fn drop(&mut self) {
        unmount(&self.path);
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// Also what is still in use, and whatever lies upon each other.
fn unmount(path: &Path) {
    while mounted().any(|mounted| mounted == path) {
        let mut command = Command::new("umount");
        let done = command
            .arg("--lazy")
            .arg(path)
            .stderr(Stdio::null())
            .status();
        if !done.is_ok_and(|status| status.success()) {
            return;
        }
    }
}

fn mounted() -> impl Iterator<Item = PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let paths: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1).map(PathBuf::from))
        .collect();
    paths.into_iter()
}

/// Unmounts what was left by a test process that was killed.
fn clear_up_after_others() {
    for path in mounted() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        let is_left = owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists());
        if is_left {
            unmount(&path);
            let _ = std::fs::remove_dir(&path);
        }
    }
}

/// Runs a command of the system's as root.
///
/// # Panics
/// With what it said, and `cure`.
pub(crate) fn system(program: &str, arguments: &[&str], cure: &str) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {program} ({error}): {cure}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {said}: {cure}"
    );
}
