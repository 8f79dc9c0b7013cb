//! Processes that do not outlive this one.

use std::io;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};

/// A command that runs as `user` (as ourselves unless we are root) and is killed when we die.
pub(crate) fn as_user(user: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if rustix::process::getuid().is_root() {
        command.args(["--reuid", user, "--regid", user, "--init-groups"]);
    }
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command.stdin(Stdio::null());
    command
}

type Job = (Command, Sender<io::Result<Child>>);

/// Starts `command` from a thread that lives as long as the process: the death signal follows the thread that
/// started the child, and a test's own thread ends with the test.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Sender<Job>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, started) in queue {
                // Whoever asked has gone if this fails.
                let _ = started.send(command.spawn());
            }
        });
        jobs
    });
    let (started, child) = mpsc::channel();
    let gone = |_| io::Error::other("the thread that starts servers is gone");
    starter
        .send((command, started))
        .map_err(|error| gone(error.to_string()))?;
    child.recv().map_err(|error| gone(error.to_string()))?
}

/// Removes a folder as soon as this process is dead or the value dropped.
pub(crate) struct Removal {
    shell: Child,
    /// Its end of file is the sign.
    alive: Option<ChildStdin>,
}

impl Removal {
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        // The server dies at the same moment and may still be writing: hence several attempts.
        const WAIT_AND_REMOVE: &str = r#"trap "" INT TERM HUP; read -r _
            for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1" 2>/dev/null && exit; sleep 0.2; done"#;
        let mut shell = Command::new("sh")
            .args(["-c", WAIT_AND_REMOVE, "remove"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let alive = shell.stdin.take();
        Ok(Self { shell, alive })
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        self.alive = None;
        // It ends by itself within two seconds.
        let _ = self.shell.wait();
    }
}
