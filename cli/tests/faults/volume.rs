//! A small file system of the kernel's own for the data folder.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tempfile::NamedTempFile;

use crate::mounts::{MountPoint, system};

/// Unmounted when dropped, and its loop device with it. A broker on it must have ended before.
pub(crate) struct Volume {
    at: MountPoint,
    image: Option<NamedTempFile>,
}

impl Volume {
    /// ext4 on a loop device; an error makes it read-only.
    pub(crate) fn ext4(mebibytes: u64) -> Volume {
        let image = NamedTempFile::new().unwrap();
        image.as_file().set_len(mebibytes << 20).unwrap();
        let path = text(image.path());
        system(
            "mkfs.ext4",
            &["-q", "-F", "-m", "0", &path],
            "install e2fsprogs",
        );
        let volume = Volume {
            at: MountPoint::new("ext4"),
            image: Some(image),
        };
        volume.mount();
        volume
    }

    /// tmpfs of this size.
    pub(crate) fn tmpfs(mebibytes: u64) -> Volume {
        let volume = Volume {
            at: MountPoint::new("tmpfs"),
            image: None,
        };
        let size = format!("size={mebibytes}m");
        let at = text(volume.at.path());
        system(
            "mount",
            &["-t", "tmpfs", "-o", &size, "tmpfs", &at],
            "run as root",
        );
        volume
    }

    fn mount(&self) {
        let image = text(self.image.as_ref().expect("it is ext4").path());
        let cure = "run as root, where there are loop devices (modprobe loop)";
        let options = "loop,errors=remount-ro";
        system(
            "mount",
            &["-o", options, &image, &text(self.at.path())],
            cure,
        );
    }

    /// Mounted anew and repaired, when nobody uses it.
    pub(crate) fn repair(&self) {
        system("umount", &[&text(self.at.path())], "run as root");
        let image = text(self.image.as_ref().expect("it is ext4").path());
        // It says 1 if there was something to repair.
        let script = "e2fsck -fy \"$0\" >/dev/null 2>&1 || test $? = 1";
        system("sh", &["-c", script, &image], "install e2fsprogs");
        self.mount();
    }

    /// The kernel finds an error and makes the file system read-only, as it does with a bad disk. (`mount -o remount,ro` is
    /// refused as long as a file is open for writing.)
    pub(crate) fn turn_read_only(&self) {
        let image = text(self.image.as_ref().expect("it is ext4").path());
        let script = "device=$(losetup -j \"$0\" | cut -d: -f1) && \
                      echo 1 >/sys/fs/ext4/${device#/dev/}/trigger_fs_error";
        system(
            "sh",
            &["-c", script, &image],
            "run as root, with /sys mounted",
        );
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.at.path().join("data")
    }

    /// Fills it with a file of somebody else's until so many bytes are free.
    pub(crate) fn fill(&self, free: u64) -> Ballast {
        let path = self.at.path().join("ballast");
        let file = File::create(&path).unwrap();
        let ballast = Ballast { path };
        let stat = statvfs(self.at.path()).unwrap();
        let mut bytes = (stat.f_bavail * stat.f_frsize).saturating_sub(free);
        let mut end = 0;
        // The file system needs a little for itself, and others take some meanwhile.
        while bytes >= 4096 {
            match fallocate(&file, FallocateFlags::empty(), end, bytes) {
                Ok(()) => end += bytes,
                Err(_) => bytes /= 2,
            }
            let stat = statvfs(self.at.path()).unwrap();
            let left = (stat.f_bavail * stat.f_frsize).saturating_sub(free);
            bytes = bytes.min(left);
        }
        ballast
    }
}

/// Somebody else's file; removed when dropped.
pub(crate) struct Ballast {
    path: PathBuf,
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("a path that is text").to_owned()
}
