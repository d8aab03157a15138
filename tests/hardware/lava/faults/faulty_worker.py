"""The worker, with a fault in Lava's LIF while it runs a program of that fault's name."""

import os
import signal
import sys
import time

from hardware.lava import worker


def fault(name):
    def run_spk(model):
        if name == "hang":
            time.sleep(1000)
        if name == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        raise ValueError(f"the fault {name!r}")

    return run_spk


def serve(job, *mode):
    from hardware.files import load
    from hardware.lava import stock

    name = load(job["program"]).name
    if name in ("hang", "crash", "raise"):
        stock.FIXED_POINT_MODELS[stock.LIF].run_spk = fault(name)
    return original(job, *mode)


if __name__ == "__main__":
    original = worker._serve
    worker._serve = serve
    worker.main(sys.argv[1:])
