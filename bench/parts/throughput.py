"""Committed transactions and plain sends a second, by connections, depth, body and flush mode, in a closed loop."""
import plot
from brokers import Folder, start
from load import bench, median, ratio_text, warm_up

MODES = {"tx": "committed transactions/s", "send": "plain sends/s"}
CELLS = [(1, 1, 1024), (1, 16, 1024), (16, 1, 1024), (16, 16, 1024), (64, 1, 1024), (64, 16, 1024), (16, 16, 128),
         (16, 16, 16384)]
CENTRE = (16, 16, 1024)
NAMES = {"escrow": "EscrowMQ", "apache": "Apache", "ceiling": "ceiling"}


def label(cell):
    connections, depth, body = cell
    return f"{connections} × {depth}" + ("" if body == 1024 else f", {body // 1024} KiB" if body >= 1024 else f", {body} B")


def measure(options, flush):
    """Each server alone, in turn, in a fresh folder; the order turns from round to round."""
    cells = [CENTRE] if options.quick else CELLS
    seconds, warmup = (0.5, 0.2) if options.quick else (1, 0.3)
    rounds, offered = [], 400 if flush == "sync" else 2000
    for number in range(options.rounds):
        found = {}
        for name in options.servers if number % 2 == 0 else reversed(options.servers):
            with Folder() as folder, start(name, flush, folder) as broker:
                warm_up(name, broker, rate=offered)
                run = lambda mode: {label(cell): one(name, broker, mode, cell, seconds, warmup) for cell in cells}
                # What Apache still has to publish of its transactions would be in the way of what comes after.
                found[name] = {"send": run("send")}
                if name == "apache":
                    found["apache_most"] = most(broker, offered)
                    offered = round(found["apache_most"] * 0.6)
                found[name]["tx"] = run("tx")
            print(flush, number, found, flush=True)
        rounds.append(found)
    return {"flush": flush, "cells": [label(cell) for cell in cells], "rounds": rounds}


def one(name, broker, mode, cell, seconds, warmup):
    connections, depth, body = cell
    # Apache acknowledges halfs faster than it publishes them, above all when it syncs; what it keeps up with is told by `most`.
    behind = name == "apache" and mode == "tx"
    report = bench(broker, mode, seconds=seconds, warmup=warmup, connections=connections, depth=depth, body=body,
                   topic=f"b{body}", settle=1 if behind else 60, unsettled_ok=behind)
    return report["visible_per_second"]


def most(broker, rate):
    """The most transactions a second that Apache commits without falling behind: an open loop, a third more each time."""
    reached = None
    while True:
        report = bench(broker, "tx", seconds=1.5, warmup=0.5, rate=round(rate), topic="most", settle=3, unsettled_ok=True)
        served = report["visible_per_second"]
        if report["total"]["outstanding"] or served < 0.95 * rate:
            return reached or served
        reached, rate = served, rate * 4 / 3


def report(found):
    flush, rounds = found["flush"], found["rounds"]
    servers = [name for name in NAMES if name in rounds[0]]
    lines = [f"## Throughput, {flush} flush", ""]
    for mode, title in MODES.items():
        lines += [f"| {title} | " + " | ".join(NAMES[name] for name in servers) + " | of Apache (min to max) | of ceiling (min to max) |",
                  "|---|" + "---|" * (len(servers) + 2)]
        of = lambda name, cell: [found[name][mode][cell] for found in rounds] if name in servers else []
        for cell in found["cells"]:
            medians = " | ".join(f"{median(of(name, cell)):,.0f}" for name in servers)
            ours = of("escrow", cell)
            lines.append(f"| {cell} | {medians} | {ratio_text(ours, of('apache', cell))} | {ratio_text(ours, of('ceiling', cell))} |")
        lines.append("")
    if "apache" in servers:
        lines += [f"Apache's most without falling behind, in an open loop: {median([found['apache_most'] for found in rounds]):,.0f} "
                  "transactions/s.", ""]
    return lines


def plots(found, folder):
    flush, rounds = found["flush"], found["rounds"]
    for mode, title in MODES.items():
        series = {NAMES[name]: [median([found[name][mode][cell] for found in rounds]) for cell in found["cells"]]
                  for name in NAMES if name in rounds[0]}
        path = folder / f"throughput-{flush}-{mode}.svg"
        plot.bars(path, f"{title}, {flush} flush, connections × outstanding", "1/s", found["cells"], series)
        yield path, f"{title}, {flush} flush"
