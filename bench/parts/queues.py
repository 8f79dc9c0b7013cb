"""Many queues: transactions a second and the half's latency in a topic of 8, 10,000 and 50,000 queues."""
from brokers import Folder, start
from load import bench, in_turn, latency, median, ratio_text, repeat

COUNTS = [8, 10_000, 50_000]
RATE = 5_000


def measure(options):
    seconds, warmup = (0.5, 0.2) if options.quick else (3, 1)
    counts = [8, 1_000] if options.quick else COUNTS

    def one_round(number):
        found = {str(count): None for count in counts}
        for count in in_turn(number, counts):
            with Folder() as folder, start("escrow", "async", folder) as broker:
                run = lambda rate: bench(broker, "tx", seconds=seconds, warmup=warmup, queues=count, rate=rate)
                fast = run(None)
                found[str(count)] = {"per_second": fast["acknowledged_per_second"], **latency(run(RATE)),
                                     "resident_mib": broker.resident_mib()}
        print(number, {key: (value["per_second"], value["p99_us"]) for key, value in found.items()}, flush=True)
        return found

    return {"rounds": repeat(options, one_round)}


def report(found):
    rounds = found["rounds"]
    few = next(iter(rounds[0]))
    lines = ["## Many queues", "",
             f"One topic, all queues in turn, async flush, 16 connections × 16, 1 KiB; latency at {RATE:,} tx/s. Every transaction was committed and "
             "visible at the end.", "",
             f"| queues | tx/s | of {few} queues (min to max) | p50, ms | p99, ms | p99.9, ms | resident, MiB |", "|---|---|---|---|---|---|---|"]
    for count in rounds[0]:
        values = lambda what: [one[count][what] for one in rounds]
        spread = ratio_text(values("per_second"), [one[few]["per_second"] for one in rounds])
        cells = " | ".join(f"{median(values(what)) / 1000:.2f}" for what in ("p50_us", "p99_us", "p999_us"))
        lines.append(f"| {int(count):,} | {median(values('per_second')):,.0f} | {spread} | {cells} | {median(values('resident_mib')):,.0f} |")
    return [*lines, ""]
