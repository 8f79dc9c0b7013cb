"""Committed transactions and plain sends a second, by connections, depth, body and flush mode, in a closed loop."""
import plot
from brokers import Folder, start
from load import bench, in_turn, median, ratio_text, repeat, warm_up

MODES = {"tx": "committed transactions/s", "send": "plain sends/s"}
CELLS = [(1, 1, 1024), (1, 16, 1024), (16, 1, 1024), (16, 16, 1024), (64, 1, 1024), (64, 16, 1024), (16, 16, 128),
         (16, 16, 16384)]
CENTRE = (16, 16, 1024)
NAMES = {"escrow": "EscrowMQ", "apache": "Apache", "ceiling": "ceiling"}


def label(cell):
    connections, depth, body = cell
    return f"{connections} × {depth}" + ("" if body == 1024 else f", {body // 1024} KiB" if body >= 1024 else f", {body} B")


# Where Apache falls so far behind with the ENDs in sync flush that what comes after is measured in its backlog.
DROWNS = [(64, 16, 1024), (16, 16, 128), (16, 16, 16384)]


def measure(options, flush):
    """Each server alone, in turn, in a fresh folder."""
    cells = [CENTRE] if options.quick else CELLS
    offered = 1500 if flush == "sync" else 5000

    def one_round(number):
        nonlocal offered
        found = {}
        for name in in_turn(number, options.servers):
            with Folder() as folder, start(name, flush, folder) as broker:
                warm_up(name, broker, rate=offered)
                found[name] = {"send": {label(cell): one(name, broker, "send", cell, options)["visible_per_second"] for cell in cells}}
                if name == "apache":
                    kept_up = most(broker, offered)
                    # The gentle ones first.
                    runs = {cell: one(name, broker, "tx", cell, options) for cell in sorted(cells, key=lambda cell: cell[0] * cell[1])
                            if flush != "sync" or cell not in DROWNS}
                    found["apache_most"] = max([kept_up, *(run["visible_per_second"] for cell, run in runs.items()
                                                           if cell[2] == 1024 and not run["total"]["outstanding"])])
                    offered = round(kept_up * 0.6)
                else:
                    runs = {cell: one(name, broker, "tx", cell, options) for cell in cells}
                found[name]["tx"] = {label(cell): run["visible_per_second"] for cell, run in runs.items()}
            print(flush, number, name, found[name], found.get("apache_most"), flush=True)
        return found

    return {"flush": flush, "cells": [label(cell) for cell in cells], "rounds": repeat(options, one_round)}


def one(name, broker, mode, cell, options):
    seconds, warmup = (0.5, 0.2) if options.quick else (0.8, 0.3)
    connections, depth, body = cell
    # Apache acknowledges halfs faster than it publishes them, above all when it syncs; what it keeps up with is told by `most`.
    behind = name == "apache" and mode == "tx"
    return bench(broker, mode, seconds=seconds, warmup=warmup, connections=connections, depth=depth, body=body,
                 topic=f"b{body}", settle=1 if behind else 60, unsettled_ok=behind)


def most(broker, rate):
    """The most transactions a second that Apache commits without falling behind: an open loop, a third more each time."""
    reached, failures = None, 0
    # A second try, as its compiler may have been at work.
    while failures < 2:
        report = bench(broker, "tx", seconds=1.5, warmup=0.5, rate=round(rate), topic="most", settle=3, unsettled_ok=True)
        served = report["visible_per_second"]
        if report["total"]["outstanding"] or served < 0.95 * rate:
            failures += 1
            reached = reached or served
        else:
            reached, failures, rate = served, 0, rate * 4 / 3
    return reached


def report(found):
    flush, rounds = found["flush"], found["rounds"]
    servers = [name for name in NAMES if name in rounds[0]]
    lines = [f"## Throughput, {flush} flush", ""]
    for mode, title in MODES.items():
        lines += [f"| {title} | " + " | ".join(NAMES[name] for name in servers) + " | of Apache (min to max) | of ceiling (min to max) |",
                  "|---|" + "---|" * (len(servers) + 2)]
        for cell in found["cells"]:
            of = {name: values(found, name, mode, cell) for name in NAMES}
            medians = " | ".join(f"{median(of[name]):,.0f}" if of[name] else "–" for name in servers)
            lines.append(f"| {cell} | {medians} | {ratio_text(of['escrow'], of['apache'])} | {ratio_text(of['escrow'], of['ceiling'])} |")
        lines.append("")
    if "apache" in servers:
        lines += ["Rows are connections × outstanding, and the body where it is not 1 KiB. The most that Apache commits without falling behind, in any "
                  f"row of 1 KiB or in an open loop: {median([found['apache_most'] for found in rounds]):,.0f} transactions/s. Where more is outstanding it "
                  "acknowledges halfs faster than it publishes them, drops ENDs that waited over 3 s and checks those halfs later"
                  + (", so that the figure in its last row is what it does under overload; rows that would only show its backlog are left out."
                     if flush == "sync" else "."), ""]
    return lines


def values(found, server, mode, cell):
    """Of each round; nothing if there are none."""
    return [one[server][mode][cell] for one in found["rounds"] if cell in one.get(server, {}).get(mode, {})]


def plots(found, folder):
    flush, rounds = found["flush"], found["rounds"]
    for mode, title in MODES.items():
        middle = lambda row: median(row) if row else None
        series = {NAMES[name]: [middle(values(found, name, mode, cell)) for cell in found["cells"]] for name in NAMES if name in rounds[0]}
        path = folder / f"throughput-{flush}-{mode}.svg"
        plot.bars(path, f"{title}, {flush} flush, connections × outstanding", "1/s", found["cells"], series)
        yield path, f"{title}, {flush} flush"
