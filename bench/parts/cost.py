"""What a committed transaction of 1 KiB costs: bytes of log and derived files, bytes that the kernel wrote, CPU; and memory."""
import os

from brokers import Folder, blocks, start
from load import bench, in_turn, median, patience, ratio_text, repeat, warm_up

SERIES = [("async", "escrow"), ("default", "escrow"), ("sync", "escrow"), ("async", "apache"), ("async", "ceiling"),
          ("sync", "ceiling")]
NAMES = {"escrow": "EscrowMQ", "apache": "Apache", "ceiling": "ceiling"}
ROWS = [
    ("log_and_derived", "log and derived files, bytes/tx", "{:,.0f}"),
    ("kernel_written", "written by the kernel, bytes/tx", "{:,.0f}"),
    ("cpu_us", "broker's CPU, µs/tx, as fast as it goes", "{:,.2f}"),
    ("cpu_us_paced", "broker's CPU, µs/tx, at half of Apache's most", "{:,.2f}"),
    ("idle_mib", "resident, idle, MiB", "{:,.0f}"),
    ("loaded_mib", "resident after the load, MiB", "{:,.0f}"),
]


def measure(options, most):
    series = [key for key in SERIES if key[1] in options.servers]

    def one_round(number):
        found = {f"{flush} {name}": None for flush, name in series}
        for flush, name in in_turn(number, series):
            with Folder() as folder, start(name, flush, folder) as broker:
                found[f"{flush} {name}"] = one(name, broker, folder, options.quick, round(most["async"] / 2))
        print(number, found, flush=True)
        return found

    return {"rounds": repeat(options, one_round)}


def one(name, broker, folder, quick, rate):
    idle = broker.resident_mib()
    warm_up(name, broker, rate=rate)
    before = grown(name, broker, folder)
    written = broker.written_bytes()
    run = bench(broker, "tx", seconds=0.5 if quick else 3, warmup=0.1, **patience(name))
    os.sync()
    each = run["total"]["visible"]
    loaded = broker.resident_mib()
    kernel = broker.written_bytes() - written
    paced = bench(broker, "tx", seconds=0.5 if quick else 2, warmup=0.2, rate=rate, **patience(name))
    each += paced["total"]["visible"]
    found = {
        "kernel_written": kernel / run["total"]["visible"],
        "cpu_us": cpu_us(run),
        "cpu_us_paced": cpu_us(paced),
        "idle_mib": idle,
        "loaded_mib": loaded,
    }
    log = broker.log_bytes()
    # What it would still write comes to the disk when it ends.
    broker.stop()
    if name != "ceiling":
        found["log_and_derived"] = (grown(name, broker, folder, log) - before) / each
    return found


def grown(name, broker, folder, log=None):
    os.sync()
    if name == "apache":
        return blocks(folder / "store")
    if name == "escrow":
        # The log is filled with zeros ahead of time: how long it is must be asked, all else can be seen.
        return (log or broker.log_bytes()) + blocks(folder / "data", but=folder / "data/store/log")
    return 0


def cpu_us(run):
    return run["broker_used"]["cpus"] * run["seconds"] / run["visible"] * 1e6


def report(found):
    keys = list(found["rounds"][0])
    names = [f"{NAMES[key.split()[1]]}, {key.split()[0]}" for key in keys]
    lines = ["## What a committed transaction costs", "",
             "1 KiB bodies, properties as the Java client's; 16 connections × 16 outstanding. Log and derived files: by growth on the disk. "
             "Written by the kernel: also zeros ahead of the log, and pages written again because a batch ended within them; "
             "Apache's mapped files are counted as they are written back.", "",
             "| measure | " + " | ".join(names) + " |", "|---|" + "---|" * len(keys)]
    for what, title, form in ROWS:
        values = {key: [one[key][what] for one in found["rounds"] if what in one[key]] for key in keys}
        lines.append(f"| {title} | " + " | ".join(form.format(median(row)) if row else "–" for row in values.values()) + " |")
    if "async apache" in keys:
        beside = lambda key: ratio_text(*[[one[which]["cpu_us"] for one in found["rounds"]] for which in (key, "async apache")])
        lines += ["", f"CPU per transaction to Apache's, async: {beside('async escrow')}."]
    return [*lines, ""]
