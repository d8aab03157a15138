"""One training on several processes that `torchrun` started, and stopping between batches.

    torchrun --standalone --nproc-per-node 2 -m spmn train babi ...

DistributedDataParallel over gloo (CPU) or nccl (CUDA, one device per process). Every process holds the same
network and the same plan of batches, and works on its part of each batch. Process 0 leads: it alone
validates, writes and prints; every process ends where it fails.
"""

from __future__ import annotations

import gc
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn, TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn

from spmn.errors import SettingsError, SpmnError, Stopped

T = TypeVar("T")

PATIENCE = timedelta(days=1)
"""How long the others wait while process 0 validates. A process that ends is noticed at once."""


@dataclass(frozen=True)
class Group:
    """The processes of one training, as one of them sees it; by default the only one."""

    device: str = "cpu"  # as torch names it
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def part(self, batch: Sequence[T]) -> Sequence[T]:
        """What of a batch this process works on; nothing where there are more processes than stories."""
        return batch[self.rank :: self.size]

    def averaging(self, module: nn.Module) -> nn.Module:
        """The module, its gradients averaged over the processes in backward.

        A parameter that no process used keeps no gradient, as in one process.
        """
        if self.size == 1:
            return module
        # DDP warns once every parameter is used, which is the rule here; this one never is
        module.register_parameter("idle", nn.Parameter(torch.zeros(1, device=self.device)))
        devices = None if self.device == "cpu" else [self.device]
        return nn.parallel.DistributedDataParallel(module, devices, find_unused_parameters=True)

    def sum(self, values: dict[str, float]) -> dict[str, float]:
        """Sum over the processes, which all name the same values."""
        if self.size == 1:
            return values
        total = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return dict(zip(values, total.tolist(), strict=True))

    def same(self, values: dict[str, float]) -> bool:
        """Whether all processes hold the values that process 0 holds."""
        first = self.sum({name: value if self.leads else 0.0 for name, value in values.items()})
        return not self.sum({"differs": float(first != values)})["differs"]

    def lead(self, action: Callable[[], T]) -> T | None:
        """Process 0 acts while the others wait and get None; where it raises, they end without a word."""
        result: T | None = None
        problem: Exception | None = None
        if self.leads:
            try:
                result = action()
            except Exception as raised:
                problem = raised
        failed = self.sum({"failed": float(problem is not None)})["failed"]
        if problem is not None:
            raise problem
        if failed:
            raise SystemExit(1)
        return result

    def fail(self, problem: Exception) -> NoReturn:
        """Process 0 raises what all of them have found; the others end without a word."""
        raise problem if self.leads else SystemExit(1)

    def lead_first(self, action: Callable[[], T]) -> T:
        """Process 0 acts, then the others find what it left."""
        result = self.lead(action)
        return cast(T, result) if self.leads else action()


ALONE = Group()


def check_device(device: str) -> None:
    """Raises SettingsError for "cuda" where torch sees no CUDA device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            "--device cuda, but torch sees no CUDA device; use --device cpu (spmn doctor tells more)"
        )


@contextmanager
def joined(device: str = "cpu") -> Iterator[Group]:
    """The processes that torchrun started, as one group; a process by itself where it started none.

    Raises SettingsError where there are more processes than CUDA devices, SpmnError where another process
    of the group was lost.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Group(device)
        return
    if device == "cuda":
        local, present = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= present:
            raise SettingsError(
                f"process {local} of this machine has no CUDA device, there are {present}; "
                f"use --nproc-per-node {present}"
            )
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    dist.init_process_group("gloo" if device == "cpu" else "nccl", timeout=PATIENCE)
    group = Group(device, dist.get_rank(), dist.get_world_size())
    try:
        yield group
    except BaseException as problem:
        traceback.clear_frames(problem.__traceback__)  # they hold the network
        stopped = isinstance(problem, Stopped)
        if stopped or device == "cpu":  # nccl would wait for a process that is lost
            _leave()
        if stopped and not group.leads:
            raise SystemExit(130) from None  # process 0 says it
        if isinstance(problem, RuntimeError) and (
            isinstance(problem, dist.DistError) or "gloo" in str(problem)  # gloo's errors have no type
        ):
            raise SpmnError(
                f"process {group.rank} of {group.size} lost another one; see what that one says, "
                "then repeat the command: it goes on from the last checkpoint"
            ) from None
        raise
    else:
        _leave()


def _leave() -> None:
    """End the group while Python is whole: threads of a network that still averages would outlive it."""
    gc.collect()
    dist.destroy_process_group()


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM are noted, to be acted on between batches; a second one ends the program at once."""
    seen: list[int] = []
    try:
        before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

        def note(number: int, _: object) -> None:
            seen.append(number)
            signal.signal(number, before[signal.Signals(number)])

        for s in before:
            signal.signal(s, note)
    except ValueError:  # not in the main thread: no signals arrive here
        before = {}
    try:
        yield lambda: bool(seen)
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
