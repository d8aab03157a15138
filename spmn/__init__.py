"""SPMN: a spiking memory network that learns in PyTorch and stores by synaptic plasticity at run time."""

from spmn.errors import CheckpointError, DataError, ExportError, SettingsError, SpmnError, VocabularyError

try:
    from spmn.export import export
    from spmn.network import SPMN
    from spmn.plasticity import RULES, PlasticLayer, PlasticState
    from spmn.report import evaluate
    from spmn.runs import open_run
    from spmn.settings import PRESETS, Network, Preset, Training
except ModuleNotFoundError as missing:
    # a host that only runs programs needs no torch: the commands info, run, fits and conform are there
    if missing.name != "torch":
        raise

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "RULES",
    "SPMN",
    "CheckpointError",
    "DataError",
    "ExportError",
    "Network",
    "PlasticLayer",
    "PlasticState",
    "Preset",
    "SettingsError",
    "SpmnError",
    "Training",
    "VocabularyError",
    "evaluate",
    "export",
    "open_run",
]
