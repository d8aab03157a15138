"""How a worker's process group ends: used by the runner, and by the worker if its parent is gone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
GRACE = 5.0
"""Seconds between asking a process group to end and ending it."""


def end_group(group: int, poll: Callable[[], object] = lambda: None) -> None:
    """Ask all processes of a group to end, and end those that live after GRACE seconds.

    Args:
        poll: called while waiting, to reap what ended.
    """
    for sign in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            # again and again, for a process that was being forked misses the first;
            # a group without living members may be gone, or be left to others
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, sign)
            poll()
            if not lives(group):
                return
            time.sleep(0.01)


def lives(group: int) -> bool:
    """True if a process of the group has not ended; one that ended but was not waited for does not count."""
    if not Path("/proc/self/stat").exists():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, 0)
            return True
        return False
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, process_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(process_group) == group and state not in "ZX":
                return True
    return False


def remove_shared_memory(token: str) -> None:
    """Unlink what is left of the segments and semaphores whose names start with `token`."""
    for path in (*SHARED_MEMORY.glob(f"{token}*"), *SHARED_MEMORY.glob(f"sem.{token}*")):
        path.unlink(missing_ok=True)
