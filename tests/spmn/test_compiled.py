"""What numba compiled is not used any more once any source it was made of has changed."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import hardware.kernels
import hardware.learning_kernels
import spmn.level_kernels
import spmn.projection_kernels

PIECE = """
from hardware.kernel_types import njit

@njit
def piece(x):
    return x + {added}
"""
WHOLE = """
import numba
import piece
from hardware.kernel_types import version_of

@numba.njit(cache=True)
def whole(version, x):
    return piece.piece(x)

print(whole(version_of(piece), 1), sum(whole.stats.cache_hits.values()))
"""


def test_a_change_in_another_file_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "whole.py").write_text(WHOLE)
    found = []
    for added in (1, 1, 2):
        (tmp_path / "piece.py").write_text(PIECE.format(added=added))
        command = [sys.executable, "-B", "-c", "import whole"]
        found.append(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
    assert [line.split() for line in found] == [["2", "0"], ["2", "1"], ["3", "0"]]


@pytest.mark.parametrize(
    "module", [hardware.kernels, hardware.learning_kernels, spmn.level_kernels, spmn.projection_kernels]
)
def test_what_calls_other_files_is_cached_with_their_version_or_not_at_all(module: ModuleType) -> None:
    compiled = {name: found for name, found in vars(module).items() if hasattr(found, "py_func")}
    cached = [
        found.py_func.__code__.co_varnames[0]
        for found in compiled.values()
        if found.py_func.__module__ == module.__name__ and type(found._cache).__name__ != "NullCache"
    ]
    assert len(compiled) > 5
    assert set(cached) <= {"version"}
