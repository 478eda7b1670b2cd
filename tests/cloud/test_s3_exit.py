"""The end of a process that used S3.

What can go wrong: the thread of Rust that handed over the last result is still on its way back when the interpreter
ends, is unwound there, and Rust aborts the process: all was done, and the exit code is 134.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from d6tstore_plugins.cloud import aside

PROCESSES = 24


def test_a_process_whose_last_act_is_a_request_ends_well(place):
    code = f"""
import os
from d6tstore_plugins.cloud.s3 import S3Backend
backend = S3Backend.open({place.url!r})
backend.exists("x")
"""
    keys = {"AWS_ACCESS_KEY_ID": place.server.keys.id, "AWS_SECRET_ACCESS_KEY": place.server.keys.secret}
    argv = [sys.executable, "-c", code]
    with ThreadPoolExecutor(4) as pool:
        ended = list(
            pool.map(lambda _: subprocess.run(argv, env=keys, capture_output=True, text=True), range(PROCESSES))
        )
    assert [(e.returncode, e.stderr) for e in ended] == [(0, "")] * PROCESSES


def test_the_end_waits_for_threads_that_hand_over():
    class Slow(aside._Loop):
        def _write_to_self(self):
            inside.set()
            assert goes_on.wait(10)
            super()._write_to_self()

    inside, goes_on, ended = threading.Event(), threading.Event(), threading.Event()
    loop = Slow()
    handing = threading.Thread(target=lambda: loop.call_soon_threadsafe(print))
    ending = threading.Thread(target=lambda: (aside._leave(), ended.set()))
    handing.start()
    assert inside.wait(10)
    ending.start()
    assert not ended.wait(0.1)
    goes_on.set()
    assert ended.wait(10)
    for thread in (handing, ending):
        thread.join()
    loop.close()
