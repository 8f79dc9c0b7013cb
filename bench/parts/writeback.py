"""Page-cache stalls: the half's acknowledgement while another process dirties memory, against quiet."""
import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

import plot
from brokers import Folder, proc, start
from load import bench, in_turn, latency, median, middle_curve, patience, ratio_text, repeat, warm_up

DIRTY = Path(__file__).resolve().parent.parent / "dirty.py"
MIB_PER_SECOND = 200
SERIES = [("async", "escrow"), ("default", "escrow"), ("async", "apache"), ("async", "ceiling")]
NAMES = {"escrow": "EscrowMQ", "apache": "Apache", "ceiling": "ceiling"}


@contextlib.contextmanager
def pressure(quick):
    """Another process dirties memory: first as much as the kernel lets lie, so that it must write, then at a steady rate."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        command = [sys.executable, str(DIRTY), folder, str(MIB_PER_SECOND), "quick" if quick else "full"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            try:
                if writer.stdout.readline().strip() != "dirty":
                    raise RuntimeError(f"{command} did not begin")
                yield
                if writer.poll() is not None:
                    raise RuntimeError(f"{command} ended early")
            finally:
                writer.kill()


def measure(options, most):
    seconds, warmup = (0.5, 0.2) if options.quick else (5, 0.5)
    rate = round(most["async"] / 2)
    series = [key for key in SERIES if key[1] in options.servers]

    def one_round(number):
        found = {f"{flush} {name}": None for flush, name in series}
        for flush, name in in_turn(number, series):
            with Folder() as folder, start(name, flush, folder) as broker:
                warm_up(name, broker, rate=rate)
                run = lambda: latency(bench(broker, "tx", seconds=seconds, warmup=warmup, rate=rate, **patience(name)))
                quiet = run()
                with pressure(options.quick):
                    pressed = run()
                    dirty = {key: int(proc("self", "../meminfo")[key].split()[0]) // 1024 for key in ("Dirty", "Writeback")}
                found[f"{flush} {name}"] = {"quiet": quiet, "pressed": pressed, "mib": dirty}
        print(number, {key: (value["quiet"]["p999_us"], value["pressed"]["p999_us"], value["mib"]) for key, value in found.items()},
              flush=True)
        return found

    return {"rate": rate, "rounds": repeat(options, one_round)}


def values(found, key, when, what):
    return [one[key][when][what] for one in found["rounds"]]


def report(found):
    lines = ["## Page-cache stalls: the half's acknowledgement while another process dirties memory", "",
             f"{found['rate']:,} tx/s offered (open loop, 16 connections, 1 KiB). The other process first dirties as much memory as the kernel "
             f"lets lie, then {MIB_PER_SECOND} MiB/s, so that the kernel is writing back all the time.", "",
             "| server | p99.9 quiet, ms | p99.9 pressed, ms | ratio (min to max) | max quiet, ms | max pressed, ms |", "|---|---|---|---|---|---|"]
    for key in found["rounds"][0]:
        flush, name = key.split()
        cell = lambda when, what: f"{median(values(found, key, when, what)) / 1000:.2f}"
        spread = ratio_text(values(found, key, "pressed", "p999_us"), values(found, key, "quiet", "p999_us"))
        lines.append(f"| {NAMES[name]}, {flush} | {cell('quiet', 'p999_us')} | {cell('pressed', 'p999_us')} | {spread} "
                     f"| {cell('quiet', 'max_us')} | {cell('pressed', 'max_us')} |")
    return [*lines, ""]


def plots(found, folder):
    curves = {f"{NAMES[key.split()[1]]}, {key.split()[0]}, {when}": middle_curve([one[key][when] for one in found["rounds"]])
              for key in found["rounds"][0] for when in ("quiet", "pressed")}
    path = folder / "writeback.svg"
    plot.quantiles(path, f"A half's acknowledgement by quantile, quiet and under writeback, {found['rate']:,}/s", curves)
    yield path, "latency by quantile, quiet and under writeback"
