"""Stories to test with: generated ones, and the official training files where this machine has them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from spmn.datasets import babi
from spmn.datasets.generator import generate

ROOT = Path(__file__).resolve().parents[3]
OFFICIAL = ROOT / os.environ.get("SPMN_BABI", "../shared/data/babi/en-10k")

StoriesOf = Callable[[int], list[babi.Story]]


@functools.cache
def official_file(task: int) -> Path:
    """The official training file, or one with part of its stories in a folder beside; skips without."""
    beside = sorted(OFFICIAL.parent.glob(f"en*/qa{task}_{babi.TASKS[task]}_train*.txt"))
    for path in [OFFICIAL / f"qa{task}_{babi.TASKS[task]}_train.txt", *beside]:
        if path.is_file():
            return path
    pytest.skip(f"no official file of task {task} in {OFFICIAL}; name the folder en-10k in SPMN_BABI")


@functools.cache
def official(task: int) -> list[babi.Story]:
    return babi.read(official_file(task), task)


@functools.cache
def generated(task: int) -> list[babi.Story]:
    return generate(task, 2_500, seed=1)


@functools.cache
def many(task: int) -> list[babi.Story]:
    return generate(task, 10_000, seed=2)


SOURCES = [generated, pytest.param(many, marks=pytest.mark.slow), official]


@pytest.fixture(params=SOURCES, ids=["generated", "many", "official"], scope="session")
def stories_of(request: pytest.FixtureRequest) -> StoriesOf:
    """Task number -> its stories: of the generator, and as published."""
    return request.param


@pytest.fixture(scope="session")
def official_path() -> Callable[[int], Path]:
    """Task number -> the official training file; skips where it is absent."""
    return official_file
