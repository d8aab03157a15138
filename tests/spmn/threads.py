"""Tests with another number of threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from spmn import kernels


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    kernels.use_threads(count)
    try:
        yield
    finally:
        kernels.use_threads(before)
