"""A training run on disk: what was trained, its weights, and where to go on.

    RUN/run.json                 settings, vocabulary, data source
    RUN/checkpoint.safetensors   weights, optimiser state and position: to resume
    RUN/network.safetensors      weights of the best validated epoch: to evaluate and export
    RUN/metrics.jsonl            one line per epoch
    RUN/curves.png               the learning curves

Every file appears whole or not at all; nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from hardware.atomic import atomic
from spmn import pretrained
from spmn.data import Source
from spmn.errors import CheckpointError
from spmn.events import Vocabulary
from spmn.network import SPMN
from spmn.rounding import round_as_exported
from spmn.settings import Network, Training, building, require, require_types

VERSION = 1
KEY = "spmn"
READERS = {
    "babi": "spmn ask, evaluate, export and plot take it",
    "similarity": "spmn similar takes it",
    "timeline": "spmn train timeline goes on with it",
}
"""What can be done with a run, by the kind of its training."""


@dataclass(frozen=True)
class Run:
    """What a run folder describes."""

    folder: Path
    network: Network
    training: Training
    source: Source
    vocabulary: Vocabulary
    digest: str  # of the training stories

    def write(self) -> None:
        """Create the folder and run.json. Raises CheckpointError where that cannot be done."""
        record = {
            "version": VERSION,
            "network": asdict(self.network),
            "training": asdict(self.training),
            "source": asdict(self.source),
            "vocabulary": asdict(self.vocabulary),
            "digest": self.digest,
        }
        with written(self.folder / "run.json") as path:
            path.write_text(json.dumps(record, indent=1))

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The epochs finished so far. Raises CheckpointError where the file is damaged."""
        return read_metrics(self.folder)

    @property
    def kept(self) -> Mapping[str, Any] | None:
        """The metrics of the epoch whose weights are kept, None before the first has finished.

        Raises CheckpointError where the file is damaged.
        """
        with reading(self.folder / "metrics.jsonl"):
            return self.training.kept(self.metrics)

    def write_metrics(self, lines: list[dict[str, Any]]) -> None:
        """Replace metrics.jsonl. Raises CheckpointError where that cannot be done."""
        with written(self.folder / "metrics.jsonl") as path:
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def build(self) -> SPMN:
        """A network of this run's settings, its weights drawn from the run's seed.

        Raises SettingsError for a rule that does not exist, or sizes that cannot be built.
        """
        torch.manual_seed(self.training.seed)
        with building(self.network):
            return SPMN(self.network, self.vocabulary)

    def trained(self) -> SPMN:
        """The network of the `kept` epoch, in evaluation mode; with weights rounded as the chip's if that
        epoch was trained so.

        Raises CheckpointError where no epoch has finished or a file is damaged.
        """
        path, kept = self.folder / "network.safetensors", self.kept
        if kept is None or not path.exists():
            raise CheckpointError(f"{str(self.folder)!r} has no finished epoch yet; go on training it first")
        tensors, _ = load_tensors(path)
        with reading(self.folder / "run.json"):
            network = self.build()
        load_weights(network, tensors, path)
        if kept["epoch"] > self.training.first_rounded:
            round_as_exported(network)
        return network.eval()


def open_run(folder: Path | str) -> Run:
    """Read a run folder. Raises CheckpointError where it is missing, damaged, foreign or too old or new."""
    path = Path(folder) / "run.json"
    if not path.is_file():
        raise CheckpointError(
            f"{str(folder)!r} is no run folder (it has no run.json); train one: spmn train babi, or name one "
            f"that comes with the package: {', '.join(pretrained.names())}"
        )
    with reading(path):
        record = json.loads(path.read_text(encoding="utf-8"))
        if "stage" in record:
            raise of_another_kind(folder, record["stage"])
        if record["version"] != VERSION:
            raise CheckpointError(
                f"{str(path)!r} is of version {record['version']}; this program reads {VERSION}"
            )
        said = record["vocabulary"]
        vocabulary = Vocabulary(
            tuple(said["words"]), tuple(said["answers"]), said["length"], tuple(said["counts"])
        )
        source = {**record["source"], "tasks": tuple(record["source"]["tasks"])}
        source["cuts"] = tuple((task, seed) for task, seed in source.get("cuts", ()))
        run = Run(
            Path(folder),
            Network(**record["network"]),
            Training(**record["training"]),
            Source(**source),
            vocabulary,
            record["digest"],
        )
        require_types(run.source)
        require_types(vocabulary)
        require(1 <= vocabulary.length < 2**31, "length", vocabulary.length, "at least 1, and below 2^31")
        require(len(vocabulary.counts) == len(vocabulary.words), "counts", len(vocabulary.counts), "per word")
        return run


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What a file of a run makes fail raises CheckpointError."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise CheckpointError(
            f"{str(path)!r} is damaged or foreign ({reason}); restore it or train anew"
        ) from None


def of_another_kind(folder: Path | str, kind: object) -> CheckpointError:
    """The error that a run is of another kind than the command takes."""
    takes = READERS.get(str(kind), "no command of this version takes it")
    return CheckpointError(f"{str(folder)!r} is of stage {kind!r}, which this command does not take; {takes}")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl, none without that file. Raises CheckpointError where it is damaged."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    with reading(path):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        require(all(isinstance(line, dict) for line in lines), "a line", "no record", "one")
        return lines


def incomplete(folder: Path, last: str) -> CheckpointError:
    """The error that metrics.jsonl lacks lines up to where the checkpoint stands."""
    return CheckpointError(
        f"{str(folder / 'metrics.jsonl')!r} ends before {last}, where the checkpoint stands; "
        "restore it or train anew in another --out"
    )


@dataclass
class Position:
    """Where a training stands: the next batch to train on."""

    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0  # of training so far
    sums: dict[str, float] = field(default_factory=dict)  # running sums of the unfinished epoch
    best: float = float("inf")  # lowest validation error so far


def save_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write a safetensors file, whole or not at all. Raises CheckpointError where that cannot be done."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written(path) as temporary:
        # written here: safetensors makes files that only their owner can read
        temporary.write_bytes(save(plain, {KEY: json.dumps({"version": VERSION, **about})}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a safetensors file of ours. Raises CheckpointError where it is damaged or foreign."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[KEY])
            if about.pop("version") != VERSION:
                raise CheckpointError(f"{str(path)!r} is of another version; this program reads {VERSION}")
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError, RecursionError) as problem:
        raise CheckpointError(
            f"{str(path)!r} is truncated or foreign ({problem}); restore it or train anew"
        ) from None


def load_weights(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Put weights into a network. Raises CheckpointError where names or shapes differ."""
    ours = network.state_dict()
    sizes = [
        (name, *(list(side[name].shape) if name in side else "missing" for side in (tensors, ours)))
        for name in (*ours, *(name for name in tensors if name not in ours))
    ]
    if wrong := [(name, there, here) for name, there, here in sizes if there != here]:
        name, there, here = wrong[0]
        more = f", and {len(wrong) - 1} more differ" if len(wrong) > 1 else ""
        raise CheckpointError(
            f"{str(path)!r} does not fit the run's settings: {name} is {there} in the file and {here} in the "
            f"network{more}; restore it or train anew"
        )
    network.load_state_dict(tensors)


def save_checkpoint(
    folder: Path, network: nn.Module, optimiser: torch.optim.Optimizer, about: dict[str, Any]
) -> None:
    """Everything that `restore` needs, in one file; `about` is where the training stands."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    save_tensors(folder / "checkpoint.safetensors", tensors, about)


def restore(folder: Path, network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Put the last checkpoint into network and optimiser; where the training stood, None if it never began.

    Temporary files that a killed run left behind are removed.
    """
    for stale in folder.glob(".*.tmp.*"):
        stale.unlink(missing_ok=True)
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        return None
    tensors, about = load_tensors(path)
    weights = {name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")}
    load_weights(network, weights, path)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return about


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A temporary path for a file that appears whole or not at all, in a folder that is made if need be.

    Raises CheckpointError where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            yield temporary
    except (OSError, SafetensorError) as problem:
        why = getattr(problem, "strerror", None) or problem
        raise CheckpointError(
            f"cannot write {str(path)!r}: {why}; make room or name another folder; what was saved is intact"
        ) from None
