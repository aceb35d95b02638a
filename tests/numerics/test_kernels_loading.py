"""Kernels are loaded by whichever thread needs them first: a reader, a look at a gain, the one that computes."""

import subprocess
import sys

import pytest

_TWO_THREADS = """
import sys, threading, time

failed = []

def load(name, delay_s):
    ready.wait()
    time.sleep(delay_s)
    try:
        __import__("daemon.numerics.kernels." + name)
    except Exception as error:
        failed.append(f"{name}: {error}")

ready = threading.Barrier(2)
threads = [threading.Thread(target=load, args=each) for each in (("compiling", 0), ("lzw_cpu", float(sys.argv[1])))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit("; ".join(failed) or 0)
"""


@pytest.mark.parametrize("delay_s", ["0", "0.03", "0.06"])
def test_two_threads_may_load_kernels_at_once(delay_s: str) -> None:
    done = subprocess.run([sys.executable, "-c", _TWO_THREADS, delay_s], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
