#!/usr/bin/env python3
"""Dirties memory for `parts/writeback.py`: bench/dirty.py FOLDER MIB_PER_SECOND quick|full

Writes one file over and over without syncing it. It first writes as much as the kernel lets lie before it must write back
(quick: 64 MiB), prints "dirty", and goes on at the given rate until it is killed, for two minutes at most.
"""
import os
import sys
import time
from pathlib import Path

MIB = 1024 * 1024
FILE_MIB = 4096


def main():
    folder, rate, extent = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available_mib = int(memory["MemAvailable"].split()[0]) // 1024
    ratio = int(Path("/proc/sys/vm/dirty_background_ratio").read_text())
    first_mib = 64 if extent == "quick" else available_mib * ratio // 100 + 256
    block = os.urandom(MIB)
    file = os.open(folder / "dirty", os.O_CREAT | os.O_WRONLY)
    for at in range(first_mib):
        os.pwrite(file, block, at % FILE_MIB * MIB)
    print("dirty", flush=True)
    begun = time.monotonic()
    for number in range(rate * 120):
        os.pwrite(file, block, (first_mib + number) % FILE_MIB * MIB)
        ahead = number / rate - (time.monotonic() - begun)
        if ahead > 0:
            time.sleep(ahead)


if __name__ == "__main__":
    main()
