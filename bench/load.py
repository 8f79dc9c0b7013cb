"""Load on a broker: what `escrow bench` does and finds, and the first send that a fresh broker takes."""
import json
import socket
import statistics
import struct
import subprocess
import time
import traceback

from brokers import ESCROW


def bench(broker, mode, *, seconds, warmup=0.5, connections=16, depth=16, body=1024, rate=None, topic="bench", group="bench",
          queues=None, receipts=False, settle=120, unsettled_ok=False):
    """Runs `escrow bench`; fails unless all that was acknowledged became visible (or `unsettled_ok`) within `settle` seconds."""
    command = [str(ESCROW), "bench", mode, "--json", "--namesrv", broker.namesrv, "--connections", str(connections), "--depth",
               str(depth), "--body-bytes", str(body), "--seconds", str(seconds), "--warmup", str(warmup), "--topic",
               f"{topic}-{mode}", "--group", group, "--settle", str(settle), "--pid", str(broker.pid)]
    command += ["--rate", str(rate)] if rate else []
    command += ["--queues", str(queues)] if queues else []
    command += ["--receipts"] if receipts else []
    run = subprocess.run(command, capture_output=True, text=True, timeout=seconds + warmup + 3 * settle + 60)
    if run.returncode and not (unsettled_ok and run.stdout):
        raise RuntimeError(f"{' '.join(command)} failed: {run.stderr.strip()}")
    return json.loads(run.stdout)


def pending(broker, count, *, body=128, topic="pending", group="bench", depth=64):
    """Leaves so many halfs undecided."""
    command = [str(ESCROW), "bench", "pending", "--json", "--namesrv", broker.namesrv, "--count", str(count), "--body-bytes",
               str(body), "--topic", topic, "--group", group, "--depth", str(depth)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=400)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {run.stderr.strip()}")
    return json.loads(run.stdout)


def repeat(options, one):
    """What `one` finds in each round. A round that fails is named and left out; if none is left, so fails the part."""
    rounds = []
    for number in range(options.rounds):
        try:
            rounds.append(one(number))
        except Exception as error:
            options.failed_rounds.append(f"{options.part}, round {number}: {error}")
            if number + 1 == options.rounds and not rounds:
                raise
            traceback.print_exc()
    return rounds


def in_turn(number, those):
    """The order turns from round to round, so that a drift of the machine favours nobody."""
    return list(those) if number % 2 == 0 else list(reversed(those))


def warm_up(name, broker, *, rate):
    """Brings the JVM's compiler to rest, by sends and by transactions at a rate that it keeps up with; the others need little."""
    seconds = 4 if name == "apache" else 0.3
    bench(broker, "send", seconds=0.3, warmup=seconds, topic="warm")
    bench(broker, "tx", seconds=0.3, warmup=seconds, topic="warm", rate=rate, unsettled_ok=name == "apache")


def first_send(address, patience=120):
    """The moment at which a plain message was accepted for the first time."""
    host, port = address.rsplit(":", 1)
    born = int(time.time() * 1000)
    header = json.dumps({"code": 310, "flag": 0, "language": "JAVA", "opaque": 1, "serializeTypeCurrentRPC": "JSON", "version": 513,
                         "extFields": {"a": "first", "b": "first", "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": str(born),
                                       "h": "0", "i": "WAIT\u0001true", "j": "0", "k": "false", "m": "false"}}).encode()
    frame = struct.pack(">II", 4 + len(header) + 5, len(header)) + header + b"first"
    until = time.monotonic() + patience
    while True:
        try:
            with socket.create_connection((host, int(port)), timeout=patience) as link:
                link.sendall(frame)
                reply = link.makefile("rb")
                length, header_length = struct.unpack(">II", reply.read(8))
                answer = json.loads(reply.read(length - 4)[:header_length & 0xFFFFFF])
                if answer["code"] == 0:
                    return time.monotonic()
        except (OSError, struct.error):
            pass
        if time.monotonic() > until:
            raise RuntimeError(f"{address} accepted no message within {patience} s")
        time.sleep(0.001)


def median(values):
    return statistics.median(values)


def patience(name):
    """Apache may lose an END to a pause and publish the message only when its check has come."""
    return {"settle": 60, "unsettled_ok": name == "apache"}


def ratio(ours, theirs):
    """The median of the ratios round by round, with the least and the greatest."""
    ratios = [a / b for a, b in zip(ours, theirs) if b]
    return statistics.median(ratios), min(ratios), max(ratios)


def ratio_text(ours, theirs):
    if not ours or not any(theirs):
        return "–"
    middle, low, high = ratio(ours, theirs)
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def latency(report, which="ack"):
    """What is kept of a latency distribution."""
    return {key: report[which][key] for key in ("count", "p50_us", "p99_us", "p999_us", "max_us", "curve")}


def middle_curve(rounds):
    """Of several distributions: the median latency at each quantile, in milliseconds."""
    return [(quantile, median([found["curve"][at][1] for found in rounds]) / 1000)
            for at, (quantile, _) in enumerate(rounds[0]["curve"])]
