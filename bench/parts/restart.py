"""Start to first accepted send, empty and with undecided halfs; and the memory that they take."""
import signal
import time

from brokers import Folder, Escrow, FLAGS, start
from load import first_send, median, pending

COUNTS = [1_000_000, 10_000_000]
# Nothing comes due meanwhile.
FLAGS_PENDING = [*FLAGS["async"], "--transaction-time-out", "6h"]


def measure(options):
    found = {"empty": {name: [] for name in options.servers if name != "ceiling"}, "pending": []}
    for _ in range(options.rounds):
        for name, seconds in found["empty"].items():
            with Folder() as folder, start(name, "async", folder) as broker:
                seconds.append(first_send(broker.address) - broker.started)
    with Folder() as folder:
        filled = 0
        for count in [20_000, 40_000] if options.quick else COUNTS:
            found["pending"].append(restarted(folder, count, count - filled))
            print(found["pending"][-1], flush=True)
            filled = count
    return found


def restarted(folder, count, more):
    with Escrow(folder, FLAGS_PENDING) as broker:
        if broker.status()["pending"] != count - more:
            raise RuntimeError(f"{broker.status()['pending']} halfs are pending before the fill, not {count - more}")
        filled = pending(broker, more)
        full = broker.resident_mib()
        broker.stop(signal.SIGKILL)
    found = {"count": count, "fill_per_second": filled["per_second"], "filled_mib": full}
    for how in ("after_kill", "after_stop"):
        with Escrow(folder, FLAGS_PENDING) as broker:
            found[how] = first_send(broker.address) - broker.started
            if broker.status()["pending"] != count:
                raise RuntimeError(f"{broker.status()['pending']} halfs are pending after the restart, not {count}")
            time.sleep(1)
            found[f"{how}_mib"] = broker.resident_mib()
    return found


def per_half(found):
    """Bytes of memory a further half: taken by a broker that runs, and by one freshly started."""
    few, many = found["pending"][0], found["pending"][-1]
    bytes_each = lambda after: (after - few["after_stop_mib"]) * 1024 * 1024 / (many["count"] - few["count"])
    return bytes_each(many["filled_mib"]), bytes_each(many["after_stop_mib"])


def report(found):
    lines = ["## Start to first accepted send", "", "| pending halfs | start | s | resident then, MiB |", "|---|---|---|---|"]
    names = {"escrow": "EscrowMQ", "apache": "Apache, with its name server"}
    for name, seconds in found["empty"].items():
        lines.append(f"| 0 | {names[name]}, empty | {median(seconds):.3f} | – |")
    for one in found["pending"]:
        lines.append(f"| {one['count']:,} | after SIGKILL | {one['after_kill']:.3f} | {one['after_kill_mib']:,.0f} |")
        lines.append(f"| {one['count']:,} | after SIGTERM | {one['after_stop']:.3f} | {one['after_stop_mib']:,.0f} |")
    taken, started = per_half(found)
    few, many = found["pending"][0], found["pending"][-1]
    return [*lines, "", f"Between {few['count']:,} and {many['count']:,} pending halfs a broker grew by {taken:.0f} bytes of memory a half while it took "
            f"them, and was {started:.0f} bytes a half larger after a restart. Bodies of 128 B.", ""]
