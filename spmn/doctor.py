"""What is installed, which runners and devices can be used, and how to get what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sys
from dataclasses import dataclass

from hardware.errors import RunError
from hardware.lava import find_python, loihi2


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
    "snntorch": "optional, latency and Poisson codes of senses: pip install snntorch",
    "soundfile": "optional, reads sound files: pip install soundfile",
    "sentence-transformers": "optional, for train similarity --model: pip install sentence-transformers",
    "jieba": "optional, segments Chinese: pip install jieba",
    "triton": "optional, kernels of the training step on CUDA: pip install triton",
    "ray": "optional, sweep --ray: pip install ray",
    "norse": "optional, an oracle of the tests: pip install norse",
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
    try:
        import torch
    except ModuleNotFoundError:
        return [Finding("devices", False, "no torch: programs run (spmn run), nothing can be trained")]
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
    torch = importlib.util.find_spec("torch") is not None
    needs_torch = "" if torch else "needs torch; "
    try:
        lava, where = True, f"{find_python()}: spmn run PROGRAM --on lava, or lava-models"
    except RunError as missing:
        lava, where = False, str(missing)
    try:
        loihi2.require_board(loihi2.Host())
        board, state = True, "found; runs on it are untested"
    except RunError as missing:
        board, state = False, str(missing)
    return [
        Finding("runner torch", torch, f"{needs_torch}float network: spmn evaluate RUN --runner torch"),
        Finding("runner exact", torch, f"{needs_torch}chip integers in torch: spmn run PROGRAM --on exact"),
        Finding("runner emulator", True, "chip integers on the CPU: spmn run PROGRAM"),
        Finding("runner lava", lava, where),
        Finding("runner loihi2", board, state),
    ]
