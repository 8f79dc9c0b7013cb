"""From a transaction's END to the message's arrival at a long-polling consumer, at half of what Apache commits at most."""
import plot
from brokers import Folder, start
from load import bench, in_turn, latency, median, middle_curve, patience, ratio_text, repeat, warm_up

SERIES = [("async", "escrow"), ("default", "escrow"), ("async", "apache")]
NAMES = {"escrow": "EscrowMQ", "apache": "Apache"}


def measure(options, most):
    seconds, warmup = (0.5, 0.2) if options.quick else (4, 1)
    rate = round(most["async"] / 2)
    series = [key for key in SERIES if key[1] in options.servers]

    def one_round(number):
        found = {f"{flush} {name}": None for flush, name in series}
        for flush, name in in_turn(number, series):
            with Folder() as folder, start(name, flush, folder) as broker:
                warm_up(name, broker, rate=rate)
                run = bench(broker, "tx", seconds=seconds, warmup=warmup, rate=rate, receipts=True, queues=8, topic="receipt",
                            **patience(name))
                found[f"{flush} {name}"] = latency(run, "receipt")
        print(number, {key: (value["p50_us"], value["p99_us"]) for key, value in found.items()}, flush=True)
        return found

    return {"rate": rate, "rounds": repeat(options, one_round)}


def report(found):
    lines = ["## END_TRANSACTION to receipt", "",
             f"{found['rate']:,} tx/s offered, 8 queues, one consumer with a suspended pull on each, as the stock client pulls. From the moment "
             "at which END is handed to the socket to the moment at which the consumer has the message.", "",
             "| server | p50, ms | p99, ms | p99.9, ms | max, ms | p99 to Apache's (min to max) |", "|---|---|---|---|---|---|"]
    values = lambda key, what: [one[key][what] for one in found["rounds"] if key in one]
    for key in found["rounds"][0]:
        flush, name = key.split()
        cells = " | ".join(f"{median(values(key, what)) / 1000:.2f}" for what in ("p50_us", "p99_us", "p999_us", "max_us"))
        spread = ratio_text(values(key, "p99_us"), values("async apache", "p99_us")) if name == "escrow" else "–"
        lines.append(f"| {NAMES[name]}, {flush} | {cells} | {spread} |")
    return [*lines, ""]


def plots(found, folder):
    curves = {f"{NAMES[key.split()[1]]}, {key.split()[0]}": middle_curve([one[key] for one in found["rounds"]])
              for key in found["rounds"][0]}
    path = folder / "receipt.svg"
    plot.quantiles(path, f"From END to receipt by quantile, {found['rate']:,}/s", curves)
    yield path, "END to receipt by quantile"
