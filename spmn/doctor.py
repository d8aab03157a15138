"""What is installed, which runners and devices can be used, and how to get what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sys
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    name: str
    usable: bool
    detail: str  # what was found, or how to get what is missing


PACKAGES = {
    "torch": "pip install torch",
    "numpy": "pip install numpy",
    "numba": "pip install numba",
    "h5py": "pip install h5py",
    "safetensors": "pip install safetensors",
    "matplotlib": "pip install matplotlib",
    "snntorch": "optional, an oracle of the tests: pip install 'spmn[test]'",
    "norse": "optional: pip install 'spmn[norse]'",
    "lava-nc": "optional, not used by this version",
}


def examine() -> list[Finding]:
    """Look at packages, devices and runners; nothing is started or changed."""
    python = Finding(
        "Python",
        (3, 10) <= sys.version_info[:2] <= (3, 13),
        f"{platform.python_version()} on {platform.system()} {platform.machine()}; declared for 3.10 to 3.13",
    )
    return [python, *(_package(name, how) for name, how in PACKAGES.items()), *_devices(), *_runners()]


def _package(name: str, how: str) -> Finding:
    try:
        return Finding(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, how)


def _devices() -> list[Finding]:
    cuda = torch.cuda.is_available()
    return [
        Finding("device cpu", True, f"{torch.get_num_threads()} threads (--threads)"),
        Finding(
            "device cuda",
            cuda,
            torch.cuda.get_device_name()
            if cuda
            else "no CUDA device is visible to torch; --device cpu works",
        ),
    ]


def _runners() -> list[Finding]:
    lava = importlib.util.find_spec("lava") is not None
    found = "found, but this version has no Lava runner yet" if lava else "not in this version yet"
    return [
        Finding("runner torch", True, "float network: spmn evaluate RUN --runner torch"),
        Finding("runner emulator", True, "chip integers on the CPU: spmn evaluate RUN --runner emulator"),
        Finding("runner lava", False, found),
        Finding(
            "runner loihi2", False, "not in this version yet; it will need a board and Intel's extension"
        ),
    ]
