"""One measurement in a fresh process: `worker.py CONTENDER ACTION N FOLDER` prints JSON."""

import gc
import importlib
import json
import os
import resource
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
COLD = ("plan", "one")  # also what is imported late counts


def resident():
    """Resident memory of this process in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(name, action, n, folder):
    contender = importlib.import_module(f"contenders.{name}")
    if hasattr(contender, "warm") and action not in COLD:
        contender.warm(folder)
    gc.collect()
    before = resident() if os.path.exists("/proc/self/statm") else 0
    start, start_cpu = time.perf_counter(), time.process_time()
    kept = getattr(contender, action)(int(n), folder)
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "bytes": peak - before, "kept": kept is not None}))


if __name__ == "__main__":
    main(*sys.argv[1:])
