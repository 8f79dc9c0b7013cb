"""A check storm: halfs that are all due at once. How long until all were asked about and decided, and what sends wait meanwhile."""
import threading
import time

from brokers import FLAGS, Escrow, Folder
from load import bench, latency, pending

CHECKS_PER_SECOND = 100_000
RATE = 2_000


def measure(options):
    count = 20_000 if options.quick else 1_000_000
    seconds = 2 if options.quick else 15
    fill = [*FLAGS["async"], "--transaction-time-out", "6h"]
    # One check each: whoever is asked answers.
    storm = [*FLAGS["async"], "--transaction-time-out", "1s", "--transaction-check-interval", "1h",
             "--checks-per-second", str(CHECKS_PER_SECOND)]
    with Folder() as folder:
        with Escrow(folder, fill) as broker:
            quiet = bench(broker, "tx", seconds=seconds / 5, rate=RATE)
            pending(broker, count)
        with Escrow(folder, storm) as broker:
            watch = Watch(broker, count)
            watch.start()
            # The generator is a member of the group, and answers COMMIT to every check.
            load = bench(broker, "tx", seconds=seconds, warmup=0, rate=RATE)
            begun = time.monotonic()
            while watch.is_alive():
                if time.monotonic() - begun > 180:
                    raise RuntimeError(f"of {count} halfs {watch.last} are undecided still")
                bench(broker, "tx", seconds=1, warmup=0, rate=RATE)
            if watch.failed:
                raise RuntimeError(f"the broker's state could not be watched: {watch.failed}")
            totals = broker.status()["since_start"]
    found = {"count": count, "checks_per_second": CHECKS_PER_SECOND, "rate": RATE, "seconds": watch.decided, "checks_sent": totals["checks_sent"],
             "quiet": latency(quiet), "storm": latency(load), "window": seconds}
    print(found, flush=True)
    return found


class Watch(threading.Thread):
    """Sees when the last half of the storm is decided, from the first check on."""

    def __init__(self, broker, count):
        super().__init__(daemon=True)
        self.broker, self.count, self.decided, self.failed, self.last = broker, count, None, None, None

    def run(self):
        try:
            begun = None
            while True:
                status = self.broker.status()
                now = time.monotonic()
                self.last = status["pending"]
                if begun is None and status["since_start"]["checks_sent"]:
                    begun = now
                # The load's own halfs come and go.
                if begun and status["since_start"]["checks_answered"] >= self.count:
                    self.decided = now - begun
                    return
                time.sleep(0.05)
        except OSError as error:
            self.failed = error


def report(found):
    quiet, storm = found["quiet"], found["storm"]
    return ["## A check storm", "",
            f"{found['count']:,} halfs due at once, `checksPerSecond` raised from 1,000 to {found['checks_per_second']:,}: all were asked about and "
            f"decided after {found['seconds']:.1f} s ({found['count'] / found['seconds']:,.0f} checks/s; {found['checks_sent']:,} sent). "
            f"16 connections answer COMMIT, and send {found['rate']:,} tx/s meanwhile:", "",
            "| the half's acknowledgement | p50, ms | p99, ms | p99.9, ms | max, ms |", "|---|---|---|---|---|",
            *(f"| {name} | {one['p50_us'] / 1000:.2f} | {one['p99_us'] / 1000:.2f} | {one['p999_us'] / 1000:.2f} | {one['max_us'] / 1000:.2f} |"
              for name, one in [("before", quiet), (f"in the {found['window']} s that begin with the storm", storm)]), ""]
