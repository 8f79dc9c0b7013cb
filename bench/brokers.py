"""The servers that are measured, the machine, and the page that holds the figures."""
import contextlib
import json
import os
import platform
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ESCROW = ROOT / "target/release/escrow"
CEILING = ROOT / "target/release/bench-ceiling"
APACHE = ROOT / "conformance/apache/serve"

# What is compared with what. Sync: every message is on the disk before it is acknowledged. Async: none. Default: ours, where
# halfs and decisions are, and plain messages are not; the ceiling syncs there, as it does not know one from the other.
FLAGS = {
    "async": ["--flush-disk-type", "async", "--transaction-flush", "follow"],
    "default": ["--flush-disk-type", "async"],
    "sync": ["--flush-disk-type", "sync"],
}
APACHE_FLUSH = {"async": "ASYNC_FLUSH", "default": "ASYNC_FLUSH", "sync": "SYNC_FLUSH"}
CEILING_FLUSH = {"async": "async", "default": "sync", "sync": "sync"}


class Broker:
    """A broker process with a folder of its own. `pid` is the broker itself."""

    def __init__(self, command):
        self.started = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                        start_new_session=True)
        line = self.process.stdout.readline()
        self.start_seconds = time.monotonic() - self.started
        if " ready " not in line:
            self.process.kill()
            raise RuntimeError(f"{command} did not start: {line!r}")
        fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
        self.namesrv, self.address, self.admin = fields["namesrv"], fields["broker"], fields.get("admin")
        self.pid = int(fields.get("pid", self.process.pid))

    def written_bytes(self):
        """Bytes that the broker caused to be written to the disk, its mapped files included."""
        return int(proc(self.pid, "io")["write_bytes"])

    def status(self):
        """What the admin API says; only EscrowMQ has one."""
        with urllib.request.urlopen(f"http://{self.admin}/api/status", timeout=60) as status:
            return json.load(status)

    def log_bytes(self):
        """The length of the log; only EscrowMQ tells."""
        return self.status()["log_bytes"] if self.admin else None

    def resident_mib(self):
        return int(proc(self.pid, "status")["VmRSS"].split()[0]) / 1024

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()


class Escrow(Broker):
    def __init__(self, folder, flags):
        super().__init__([str(ESCROW), "serve", "--data-dir", str(folder / "data"), "--namesrv-addr", "127.0.0.1:0",
                          "--broker-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", *flags])


class Apache(Broker):
    heap = "4g"

    def __init__(self, folder, flush):
        port = free_port(4)
        super().__init__([str(APACHE), "--dir", str(folder), "--namesrv-port", str(port), "--broker-port", str(port + 3),
                          "--heap", self.heap, "--flush", flush])


class Ceiling(Broker):
    """The server that appends and replies and does nothing else."""
    # Large enough that the kernel must write back, as it must for a broker.
    file_mib = 4096

    def __init__(self, folder, flush):
        super().__init__([str(CEILING), "--dir", str(folder), "--flush", flush, "--file-mib", str(self.file_mib)])


def free_port(more):
    """A port that is free, as the `more` after it are: Apache's broker takes some around the one that it is told."""
    while True:
        port = random.randrange(12_000, 32_000)
        with contextlib.ExitStack() as taken:
            try:
                for at in range(port, port + more + 1):
                    taken.enter_context(socket.socket()).bind(("127.0.0.1", at))
                return port
            except OSError:
                continue


def start(name, flush, folder):
    """Starts one of `escrow`, `apache`, `ceiling` in the way that `flush` stands for."""
    if name == "apache":
        return Apache(folder, APACHE_FLUSH[flush])
    if name == "ceiling":
        return Ceiling(folder, CEILING_FLUSH[flush])
    return Escrow(folder, FLAGS[flush])


class Folder:
    """A fresh folder, gone at the end. What it leaves to be written is written, so that the next one finds a quiet disk."""

    def __enter__(self):
        self.path = Path(tempfile.mkdtemp(prefix="bench-"))
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)
        os.sync()


def blocks(folder, but=None):
    """Bytes that the files under a folder take on the disk, holes not counted; those under the folder `but` left out."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and but not in path.parents)
    return sum(path.stat().st_blocks * 512 for path in files)


def proc(pid, name):
    return dict(line.split(":", 1) for line in Path(f"/proc/{pid}/{name}").read_text().splitlines() if ":" in line)


def describe():
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), "unknown")
    memory = int(proc("self", "../meminfo")["MemTotal"].split()[0]) // 1024 // 1024
    pom = (ROOT / "conformance/apache/pom.xml").read_text()
    version = pom.split("<rocketmq.version>")[1].split("<")[0] if "<rocketmq.version>" in pom else "see conformance/apache/pom.xml"
    java = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr.splitlines()[0]
    rust = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    return {
        "machine": f"{os.cpu_count()} × {cpu}, {memory} GiB, Linux {platform.release()}, broker and load generator share it",
        "EscrowMQ": f"commit {commit}, {rust}, release profile",
        "Apache RocketMQ": f"{version} from Maven Central, stock settings, heap -Xms{Apache.heap} -Xmx{Apache.heap}, {java}",
        "date": time.strftime("%Y-%m-%d"),
    }


def write_part(page, text):
    """Puts a part, which begins with a heading of the first level, into the page in place of the former one."""
    page = Path(page)
    parts = re.split(r"^(?=# )", page.read_text(), flags=re.MULTILINE) if page.exists() else []
    heading = text.split("\n", 1)[0]
    parts = [part.strip("\n") for part in parts if part.strip()]
    at = next((i for i, part in enumerate(parts) if part.split("\n", 1)[0] == heading), len(parts))
    parts[at:at + 1] = [text.strip("\n")]
    page.write_text("\n\n".join(parts) + "\n")
