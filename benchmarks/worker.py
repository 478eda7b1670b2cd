"""One measurement in a fresh process: python worker.py CONTENDER first|again N FOLDER; prints JSON."""

import gc
import importlib
import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def rss():
    """Resident memory of this process in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(name, action, n, folder):
    contender = importlib.import_module(f"contenders.{name}")
    if hasattr(contender, "warm"):
        contender.warm(folder)
    gc.collect()
    before = rss()
    start = time.perf_counter()
    result = getattr(contender, action)(int(n), folder)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "rss": rss() - before, "result": result}))


if __name__ == "__main__":
    main(*sys.argv[1:])
