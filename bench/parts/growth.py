"""Whether a transaction costs more as stored data grows: the same load with little stored, and with ten times as much."""
from brokers import Folder, start
from load import bench, latency

RATE = 5_000


def measure(options):
    fill, seconds = (0.3, 0.5) if options.quick else (4, 4)
    found = {"points": []}
    with Folder() as folder, start("escrow", "async", folder) as broker:
        stored = 0
        while True:
            # Small bodies: it is records, queue entries and keys that grow.
            stored += bench(broker, "tx", seconds=fill, warmup=0.1, body=128, depth=64)["total"]["visible"]
            if found["points"] and stored < 10 * found["points"][0]["stored"]:
                continue
            fast = bench(broker, "tx", seconds=seconds, warmup=0.3)
            paced = bench(broker, "tx", seconds=seconds, warmup=0.3, rate=RATE)
            found["points"].append({"stored": stored, "log_bytes": broker.log_bytes(), "per_second": fast["visible_per_second"],
                                    "cpu_us": fast["broker_used"]["cpus"] * fast["seconds"] / fast["visible"] * 1e6,
                                    "resident_mib": broker.resident_mib(), **latency(paced)})
            stored += fast["total"]["visible"] + paced["total"]["visible"]
            print(found["points"][-1], flush=True)
            if len(found["points"]) == 2:
                return found


def report(found):
    lines = ["## Cost as stored data grows", "",
             f"Async flush, 16 connections × 16, 1 KiB; latency at {RATE:,} tx/s.", "",
             "| transactions stored | log, GiB | tx/s | CPU, µs/tx | p50, ms | p99, ms | p99.9, ms | resident, MiB |",
             "|---|---|---|---|---|---|---|---|"]
    for one in found["points"]:
        lines.append(f"| {one['stored']:,} | {one['log_bytes'] / 2**30:.1f} | {one['per_second']:,.0f} | {one['cpu_us']:.2f} "
                     f"| {one['p50_us'] / 1000:.2f} | {one['p99_us'] / 1000:.2f} | {one['p999_us'] / 1000:.2f} | {one['resident_mib']:,.0f} |")
    return [*lines, ""]
