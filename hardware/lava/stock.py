"""Lava's own classes. Lava is imported here first, so that it imports on every Python."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import logging


def _import_on_new_pythons() -> None:
    """One module of Lava 0.10 has unhashable dataclass instances as defaults, which Python 3.11 refuses."""
    original = dataclasses.dataclass
    dataclasses.dataclass = functools.partial(original, unsafe_hash=True)
    try:
        importlib.import_module("lava.magma.compiler.var_model")
    finally:
        dataclasses.dataclass = original


_import_on_new_pythons()

from lava.magma.core.decorator import implements, requires  # noqa: E402
from lava.magma.core.learning.constants import GradedSpikeCfg  # noqa: E402
from lava.magma.core.learning.learning_rule import Loihi2FLearningRule, Loihi3FLearningRule  # noqa: E402
from lava.magma.core.model.py.model import PyLoihiProcessModel  # noqa: E402
from lava.magma.core.model.py.ports import PyInPort, PyRefPort  # noqa: E402
from lava.magma.core.model.py.type import LavaPyType  # noqa: E402
from lava.magma.core.process.ports.ports import InPort, RefPort  # noqa: E402
from lava.magma.core.process.process import AbstractProcess, ProcessServer  # noqa: E402
from lava.magma.core.resources import CPU  # noqa: E402
from lava.magma.core.run_conditions import RunSteps  # noqa: E402
from lava.magma.core.run_configs import Loihi2SimCfg  # noqa: E402
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol  # noqa: E402
from lava.proc.dense.models import (  # noqa: E402
    PyDelayDenseModelBitAcc,
    PyDenseModelBitAcc,
    PyLearningDenseModelBitApproximate,
)
from lava.proc.dense.process import DelayDense, Dense, LearningDense  # noqa: E402
from lava.proc.graded.models import PyGradedVecModelFixed  # noqa: E402
from lava.proc.graded.process import GradedVec  # noqa: E402
from lava.proc.io.source import RingBuffer  # noqa: E402
from lava.proc.lif.models import PyLifModelBitAcc, PyLifResetModelBitAcc  # noqa: E402
from lava.proc.lif.process import LIF, LIFReset  # noqa: E402
from lava.proc.sparse.models import PyDelaySparseModelBitAcc, PySparseModelBitAcc  # noqa: E402
from lava.proc.sparse.process import DelaySparse, Sparse  # noqa: E402
from lava.utils.weightutils import SignMode  # noqa: E402

FIXED_POINT_MODELS = {
    LIF: PyLifModelBitAcc,
    LIFReset: PyLifResetModelBitAcc,
    GradedVec: PyGradedVecModelFixed,
    Dense: PyDenseModelBitAcc,
    DelayDense: PyDelayDenseModelBitAcc,
    Sparse: PySparseModelBitAcc,
    DelaySparse: PyDelaySparseModelBitAcc,
    LearningDense: PyLearningDenseModelBitApproximate,
}
"""The models that Loihi2SimCfg(select_tag="fixed_pt") chooses."""


def forget_processes() -> None:
    """Drop what Lava keeps of every Process ever made: the Process, and a handler of the root logger."""
    ProcessServer().reset_server()
    logging.getLogger().handlers.clear()


__all__ = [
    "CPU",
    "FIXED_POINT_MODELS",
    "LIF",
    "AbstractProcess",
    "DelayDense",
    "DelaySparse",
    "Dense",
    "GradedSpikeCfg",
    "GradedVec",
    "InPort",
    "LIFReset",
    "LavaPyType",
    "LearningDense",
    "Loihi2FLearningRule",
    "Loihi2SimCfg",
    "Loihi3FLearningRule",
    "LoihiProtocol",
    "PyInPort",
    "PyLoihiProcessModel",
    "PyRefPort",
    "RefPort",
    "RingBuffer",
    "RunSteps",
    "SignMode",
    "Sparse",
    "forget_processes",
    "implements",
    "requires",
]
