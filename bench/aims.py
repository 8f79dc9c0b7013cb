"""What we aim at, and what was measured."""
from load import median
from parts import restart
from parts.throughput import CENTRE, label

CELL = label(CENTRE)


def ratios(ours, theirs):
    return median([a / b for a, b in zip(ours, theirs)])


def throughput(recorded, flush, mode, beside):
    rounds = recorded[f"throughput-{flush}"]["rounds"]
    ours = [one["escrow"][mode][CELL] for one in rounds]
    if beside == "apache" and mode == "tx":
        # The better of what it does under the same load and what it keeps up with.
        return ratios(ours, [max(one["apache"]["tx"][CELL], one["apache_most"]) for one in rounds])
    return ratios(ours, [one[beside][mode][CELL] for one in rounds])


def latency(recorded, flush, what):
    rounds = recorded["latency"]["rounds"]
    return ratios([one[f"{flush} escrow 0.5"][what] for one in rounds], [one[f"{flush} apache 0.5"][what] for one in rounds])


def stall(recorded, flush):
    rounds = recorded["writeback"]["rounds"]
    return ratios([one[f"{flush} escrow"]["pressed"]["p999_us"] for one in rounds],
                  [one[f"{flush} escrow"]["quiet"]["p999_us"] for one in rounds])


def cost(recorded, key, what):
    return median([one[key][what] for one in recorded["cost"]["rounds"]])


BESIDE_CEILING = ("the ceiling finds four values in a frame and is done; a broker reads and checks each header, keeps the half's state, its deadline and a "
                  "queue entry, and encodes a record of its own, and on two cores all this is taken from what the generator needs")
BESIDE_APACHE = "Apache, once its JVM is warm and it is not drowned by its own backlog, commits three times what the aim was set by"

AFTER_A_FILL = ("the figure of a broker that has just taken nine million of them, with the newest bytes and the blocks of the key index that wait for "
                "their checkpoint; freshly started, each takes 81")

TRIED = ("What was tried for the throughput of transactions, in paired runs of 16 × 16, async: blocks of one size for the newest bytes, headers "
         "without copies and jemalloc (together 137 to 165 thousand/s; kept); mimalloc (129 where jemalloc had 151); one runtime thread (96 where two "
         "have 123); no zeros ahead of the log (no difference in five pairs); a log thread that waits awake for up to 200 µs (none in three). Requests "
         "come and go in whole batches (16 to a read, 16 to a write), so system calls are not what it takes: of the broker's 8 to 9 µs a transaction "
         "the runtime's threads and the log thread take 45% each, a quarter of either in the kernel, a fifth of the log thread's in copying; "
         "checkpoints and zeros take 8%. A third of a core is left idle at 16 × 16, a tenth less at 16 × 64, where it commits a quarter more.")

# Measure, how the figure is shown, at least or at most, the aim, the figure, why it is missed where it is.
AIMS = [
    ("committed tx/s to Apache's, async", "{:.1f}", ">=", 5, lambda r: throughput(r, "async", "tx", "apache"), BESIDE_APACHE),
    ("committed tx/s to Apache's, sync", "{:.1f}", ">=", 3, lambda r: throughput(r, "sync", "tx", "apache"), ""),
    ("committed tx/s to the ceiling's, async", "{:.2f}", ">=", 0.4, lambda r: throughput(r, "async", "tx", "ceiling"), BESIDE_CEILING),
    ("committed tx/s to the ceiling's, sync", "{:.2f}", ">=", 0.4, lambda r: throughput(r, "sync", "tx", "ceiling"), BESIDE_CEILING),
    ("plain sends/s to Apache's, async", "{:.1f}", ">=", 3, lambda r: throughput(r, "async", "send", "apache"), ""),
    ("plain sends/s to Apache's, sync", "{:.1f}", ">=", 2, lambda r: throughput(r, "sync", "send", "apache"), ""),
    ("half's ack p99 to Apache's at half of its most, async", "{:.2f}", "<=", 0.2, lambda r: latency(r, "async", "p99_us"), ""),
    ("half's ack p99.9 to Apache's at half of its most, async", "{:.2f}", "<=", 0.2, lambda r: latency(r, "async", "p999_us"), ""),
    ("half's ack p99 to Apache's at half of its most, sync", "{:.2f}", "<=", 0.2, lambda r: latency(r, "sync", "p99_us"), ""),
    ("half's ack p99.9 to Apache's at half of its most, sync", "{:.2f}", "<=", 0.2, lambda r: latency(r, "sync", "p999_us"), ""),
    ("half's ack p99.9 under writeback to quiet, async", "{:.1f}", "<=", 3, lambda r: stall(r, "async"), ""),
    ("half's ack p99.9 under writeback to quiet, default", "{:.1f}", "<=", 3, lambda r: stall(r, "default"), ""),
    ("log and derived files per committed 1 KiB transaction, KiB", "{:.2f}", "<=", 1.75,
     lambda r: cost(r, "async escrow", "log_and_derived") / 1024, ""),
    ("idle resident memory, MiB", "{:.0f}", "<=", 30, lambda r: cost(r, "async escrow", "idle_mib"), ""),
    ("memory per pending half, bytes", "{:.1f}", "<=", 100, lambda r: max(restart.per_half(r["restart"])), AFTER_A_FILL),
    ("start to first accepted send, empty, s", "{:.3f}", "<=", 0.1, lambda r: median(r["restart"]["empty"]["escrow"]), ""),
    ("the same with 1 M pending, after SIGKILL, s", "{:.2f}", "<=", 2, lambda r: r["restart"]["pending"][0]["after_kill"], ""),
    ("the same with 10 M pending, after SIGKILL, s", "{:.2f}", "<=", 15, lambda r: r["restart"]["pending"][1]["after_kill"], ""),
    ("END to receipt by a long-polling consumer, p99 at half of Apache's most, ms", "{:.2f}", "<=", 5,
     lambda r: median([one["async escrow"]["p99_us"] for one in r["receipt"]["rounds"]]) / 1000, ""),
]


def table(recorded):
    """The aims in a table; a part that is not recorded leaves a gap that is named."""
    lines = ["## Aims", "", "Ratios in one run, 16 connections × 16 outstanding and 1 KiB where nothing else is said.", "",
             "| measure | aim | measured | |", "|---|---|---|---|"]
    for measure, form, way, aim, figure, why in AIMS:
        try:
            measured = figure(recorded)
        except KeyError:
            lines.append(f"| {measure} | {'at least' if way == '>=' else 'at most'} {aim:g} | not measured | |")
            continue
        met = measured >= aim if way == ">=" else measured <= aim
        missed = f"**missed** by {abs(measured - aim) / aim:.1%}{': ' + why if why else ''}"
        lines.append(f"| {measure} | {'at least' if way == '>=' else 'at most'} {aim:g} | {form.format(measured)} | {'met' if met else missed} |")
    return [*lines, "", TRIED, ""]
