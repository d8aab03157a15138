"""A program on Lava 0.10, in an environment of its own, which `make lava` builds.

program, inputs --files--> worker process --files--> Recording

The runner "lava simulation" is Lava's own runtime, one operating system process per Lava Process; "lava
models" steps the same ProcessModels in one process, which is faster and gives the same bits.
"""

from hardware.lava.runner import Job, find_python, run_jobs

__all__ = ["Job", "find_python", "run_jobs"]
