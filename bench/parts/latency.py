"""How long a half's acknowledgement takes at fixed offered loads: an open loop, in which a send counts from when it was due."""
import plot
from brokers import Folder, start
from load import bench, in_turn, latency, median, middle_curve, patience, ratio_text, repeat, warm_up

SERIES = {
    # flush mode, server: loads in parts of Apache's most.
    ("async", "escrow"): (0.25, 0.5, 4),
    ("async", "apache"): (0.25, 0.5),
    ("async", "ceiling"): (0.5,),
    ("default", "escrow"): (0.5, 4),
    ("sync", "escrow"): (0.5, 4),
    ("sync", "apache"): (0.5,),
    ("sync", "ceiling"): (0.5,),
}
NAMES = {"escrow": "EscrowMQ", "apache": "Apache", "ceiling": "ceiling"}


def measure(options, most):
    """`most`: what Apache commits at most, by flush mode."""
    seconds, warmup = (0.5, 0.2) if options.quick else (3, 0.5)
    series = [key for key in SERIES if key[1] in options.servers]

    def one_round(number):
        found = {}
        for flush, name in in_turn(number, series):
            apache = most["sync" if flush == "sync" else "async"]
            with Folder() as folder, start(name, flush, folder) as broker:
                warm_up(name, broker, rate=round(apache / 2))
                for part in SERIES[flush, name][:1] if options.quick else SERIES[flush, name]:
                    run = bench(broker, "tx", seconds=seconds, warmup=warmup, rate=round(part * apache), **patience(name))
                    found[f"{flush} {name} {part:g}"] = {"rate": round(part * apache), **latency(run)}
        print(number, {key: (value["rate"], value["p99_us"]) for key, value in found.items()}, flush=True)
        # In one order, whatever came first.
        return {key: found[key] for key in sorted(found, key=lambda key: list(SERIES).index(tuple(key.split()[:2])))}

    return {"most": most, "rounds": repeat(options, one_round)}


def values(found, key, what):
    return [one[key][what] for one in found["rounds"] if key in one]


def report(found):
    lines = ["## Latency of a half's acknowledgement at fixed loads", "",
             "Open loop at parts of what Apache commits at most; 16 connections, 1 KiB. “default”: halfs and decisions synced, "
             "plain messages not; beside Apache's ASYNC_FLUSH.", "",
             "| flush | offered, tx/s | server | p50, ms | p99, ms | p99.9, ms | max, ms | p99 to Apache's (min to max) | p99.9 to Apache's |",
             "|---|---|---|---|---|---|---|---|---|"]
    for key in found["rounds"][0]:
        flush, name, part = key.split()
        cells = " | ".join(f"{median(values(found, key, what)) / 1000:.2f}" for what in ("p50_us", "p99_us", "p999_us", "max_us"))
        beside = f"{'sync' if flush == 'sync' else 'async'} apache {part}"
        ratios = " | ".join(ratio_text(values(found, key, what), values(found, beside, what)) if name == "escrow" else "–"
                            for what in ("p99_us", "p999_us"))
        lines.append(f"| {flush} | {found['rounds'][0][key]['rate']:,} ({float(part):g} ×) | {NAMES[name]} | {cells} | {ratios} |")
    return [*lines, ""]


def plots(found, folder):
    for flush in ("async", "sync"):
        keys = [key for key in found["rounds"][0] if key.split()[0] == flush or (flush == "async" and key.startswith("default"))]
        if keys:
            curves = {f"{NAMES[key.split()[1]]}{', default' if key.startswith('default') else ''}, {found['rounds'][0][key]['rate']:,}/s":
                      middle_curve([one[key] for one in found["rounds"]]) for key in keys}
            path = folder / f"latency-{flush}.svg"
            plot.quantiles(path, f"A half's acknowledgement by quantile, {flush} flush, offered load", curves)
            yield path, f"latency by quantile, {flush} flush"
