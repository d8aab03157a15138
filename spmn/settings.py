"""Settings of the network and of its training, and the named presets (presets.json)."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, get_args, get_origin, get_type_hints

from spmn.errors import SettingsError

SIZES = ("depth", "heads", "keys", "values", "embedding", "encoder", "decoder", "steps")
PRECISIONS = ("float32", "bfloat16")
UNSOLVED = 0.05
"""Training error from which on all stories of a task are told in every epoch, whatever the focus."""


def require(holds: bool, name: str, value: object, must_be: str) -> None:
    if not holds:
        raise SettingsError(f"{name} is {value}; it must be {must_be}")


def require_seed(seed: int) -> None:
    require(0 <= seed < 2**63, "seed", seed, "0 or more, and below 2^63")


def require_types(settings: Any) -> None:
    """Raises SettingsError where a field of this dataclass holds a value that is not of its type."""
    for name, hint in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        if not _of_type(value, hint):
            raise SettingsError(f"{name} is {value!r}; it must be {_KINDS.get(hint, f'of type {hint}')}")


def _of_type(value: object, hint: Any) -> bool:
    parts = get_args(hint)
    if get_origin(hint) is tuple:
        if not isinstance(value, tuple):
            return False
        each = parts[:1] * len(value) if parts[-1] is ... else parts
        return len(value) == len(each) and all(map(_of_type, value, each))
    if parts:  # a union
        return any(_of_type(value, part) for part in parts)
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return isinstance(value, hint)


def refuse(why: str, **options: object) -> None:
    """Raises SettingsError naming the first of these options that was given."""
    for name, value in options.items():
        if value is not None:
            raise SettingsError(f"--{name.replace('_', '-')} {value} {why}")


@dataclass(frozen=True)
class Network:
    """Sizes and constants of the spiking network. Time constants are in steps, potentials in thresholds."""

    depth: int = 3  # memory levels; level d is driven by what levels 1..d-1 have just recalled
    heads: int = 4  # independent associative memories per level; the last one also stores the clock
    keys: int = 32  # key neurons per head (K); heads * keys is the width of M
    values: int = 32  # association and recall neurons per head (V)
    embedding: int = 64  # word vector; folded into the input weights on export
    encoder: int = 64  # encoder neurons
    decoder: int = 128  # decoder neurons; their mean spikes are read by a linear layer on the host
    steps: int = 5  # steps of an event's window (T)
    dv: float = 0.1  # membrane leak per step: v <- (1 - dv) v
    slope: float = 1.0  # steepness of the surrogate gradient 1 / (1 + slope |v - 1|)^2
    weight_scale: float = 4.0  # bound of the weights drawn at the start, in 1 / sqrt(inputs)
    dropout: float = 0.1  # on the decoder's mean spikes, in training only
    spike_dropout: float = 0.0  # of encoder and recall neurons on their way to the levels, in training only
    rule: str = "two-factor"  # plasticity of M: a name in spmn.plasticity.RULES
    per_head: bool = False  # whether each head of a level has its own recall gain and learning rates

    def __post_init__(self) -> None:
        require_types(self)
        for name in SIZES:
            require(1 <= getattr(self, name) < 2**31, name, getattr(self, name), "at least 1, and below 2^31")
        for name, most in (("depth", 100), ("steps", 1000)):
            require(getattr(self, name) <= most, name, getattr(self, name), f"from 1 to {most}")
        require(0 <= self.dv <= 1, "dv", self.dv, "from 0 to 1")
        for name in ("slope", "weight_scale"):
            require(0 < getattr(self, name) < math.inf, name, getattr(self, name), "above 0 and finite")
        for name in ("dropout", "spike_dropout"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "from 0 to below 1")

    @property
    def width(self) -> int:
        """Rows of M: heads * keys."""
        return self.heads * self.keys

    @property
    def recall(self) -> int:
        """Recall neurons of one level: heads * values."""
        return self.heads * self.values


@contextmanager
def building(network: Network) -> Iterator[None]:
    """Raises SettingsError where torch cannot build a network of these sizes, as for want of memory."""
    try:
        yield
    except (RuntimeError, MemoryError) as problem:
        sizes = ", ".join(f"{name}={value}" for name, value in to_dict(network).items() if name in SIZES)
        reason = str(problem).partition("\n")[0]
        raise SettingsError(f"no network of {sizes} can be built ({reason}); make it smaller") from None


MOST = 10_000_000
"""Generated questions per task: more would not fit into the memory of a machine."""


@dataclass(frozen=True)
class Training:
    """How a network is trained."""

    epochs: int = 12
    cycles: int = 1  # one-cycle schedules of the learning rate, one after the other, within the epochs
    learning_rate: float = 3e-3  # peak of the one-cycle schedule
    cycle_decay: float = 1.0  # of that peak, from each cycle to the next
    warm_up: float = 0.1  # share of all steps in which the learning rate rises
    weight_decay: float = 1e-3
    gradient_norm: float = 1.0
    events_per_batch: int = 400
    precision: str = "float32"  # of products in training; bfloat16 is faster on CPUs with units for it (AMX)
    practice: float = 0.2  # chance of a retrieval-practice question after each statement, in the first cycle
    practice_late: float = 0.1  # the same in later cycles
    practice_loss: float = 0.0  # weight of answering practice questions beside answering ordinary ones
    clue_loss: float = 0.1  # weight of a practice question's clues beside an ordinary question
    focus: float = 0.0  # share of a task's stories that an epoch leaves out where the last one had no error
    repeat: int = 0  # events up to which an epoch tells the stories of a small task again
    insist: float = 1.0  # times `repeat` at most, the further a task's training error is above UNSOLVED
    insist_from: float = 0.0  # share of the epochs before the first that insists
    rename: str = ""  # names drawn anew for each other in every training story: "mary john, red_sphere box"
    rename_from: float = 0.0  # share of the epochs before the first in which stories are renamed
    chip_weights_from: float = 1.0  # share of the epochs before the first with weights and rates rounded
    warm_start: str = (
        ""  # what training starts from: a run, or a network like babi/2, or several: "babi/2 + babi/4"
    )
    validation: float = 0.1  # share of the distinct stories set aside
    stories: int = 10_000  # questions generated per task when no data folder is given
    extra: int = 0  # questions per task in generated stories that are added to the training stories
    fill: int = 0  # questions per task up to which generated stories are added where files hold fewer
    seed: int = 0

    def __post_init__(self) -> None:
        require_types(self)
        for name in ("stories", "extra", "fill"):
            require(getattr(self, name) <= MOST, name, getattr(self, name), f"at most {MOST:,}")
        for name in ("epochs", "events_per_batch", "stories"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(
            1 <= self.cycles <= self.epochs, "cycles", self.cycles, f"from 1 to {self.epochs}, the epochs"
        )
        for name in ("learning_rate", "gradient_norm"):
            require(0 < getattr(self, name) < math.inf, name, getattr(self, name), "above 0 and finite")
        for name in ("weight_decay", "practice_loss", "clue_loss"):
            require(0 <= getattr(self, name) < math.inf, name, getattr(self, name), "0 or more, and finite")
        require(0 < self.cycle_decay <= 1, "cycle_decay", self.cycle_decay, "above 0 and up to 1")
        require(0 <= self.warm_up < 1, "warm_up", self.warm_up, "from 0 to below 1")
        require(0 <= self.practice <= 1, "practice", self.practice, "from 0 to 1")
        require(0 <= self.practice_late <= 1, "practice_late", self.practice_late, "from 0 to 1")
        require(0 <= self.focus < 1, "focus", self.focus, "from 0 to below 1")
        require(1 <= self.insist < math.inf, "insist", self.insist, "at least 1, and finite")
        for name in ("rename_from", "chip_weights_from", "insist_from"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "from 0 to 1")
        require(0 < self.validation < 1, "validation", self.validation, "above 0 and below 1")
        for name in ("repeat", "extra", "fill"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require_seed(self.seed)
        require(self.precision in PRECISIONS, "precision", self.precision, f"one of {', '.join(PRECISIONS)}")

    def cycle(self, done: float) -> tuple[int, float]:
        """Number of the learning-rate cycle at a share `done` of the training, and the share done of it."""
        number = min(int(done * self.cycles), self.cycles - 1)
        return number, done * self.cycles - number

    def peak(self, done: float) -> float:
        """Peak of the learning rate in the cycle at a share `done` of the training."""
        return self.learning_rate * self.cycle_decay ** self.cycle(done)[0]

    def told(self, events: int, error: float, done: float) -> float:
        """How often an epoch at a share `done` of the training tells the stories of a task with so many
        events, after this error in training.

        max(1, i repeat / events) (1 - focus max(0, 1 - error / UNSOLVED)),
        i = error / UNSOLVED, but at least 1 and at most `insist`, or 1 before `insist_from`
        """
        most = self.insist if done >= self.insist_from else 1.0
        again = min(max(error / UNSOLVED, 1.0), most) * self.repeat
        return max(1.0, again / events) * (1.0 - self.focus * max(0.0, 1.0 - error / UNSOLVED))

    @property
    def first_rounded(self) -> int:
        """The first epoch, from 0, with weights rounded as the chip's; `epochs` if there is none."""
        return math.ceil(self.chip_weights_from * self.epochs)

    def kept(self, metrics: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """The line of the epoch whose weights are kept, given those of finished epochs: that of the lowest
        validation error, the last of equal ones; of epochs with rounded weights as soon as there are any,
        for what was best before may lose more when it is rounded."""
        rounded = metrics[self.first_rounded :]
        return min(reversed(rounded or metrics), key=lambda line: line["error"], default=None)

    def practice_at(self, done: float) -> float:
        """Chance of retrieval practice at a share `done` of the training."""
        return self.practice if self.cycle(done)[0] == 0 else self.practice_late


@dataclass(frozen=True)
class Preset:
    """A network and how to train it, under a name."""

    network: Network = Network()
    training: Training = Training()


def preset(name: str, tasks: Sequence[int] = ()) -> Preset:
    """The preset of this name, for these tasks: some hold a recipe for each task alone.

    Raises SettingsError naming the presets that exist, or the tasks that one has recipes for.
    """
    if name in PRESETS:
        found = PRESETS[name]
        if found.training.rename == AS_SINGLE:
            return changed(found, [f"rename={_names(tasks)}"])
        return found
    if name not in RECIPES:
        raise SettingsError(f"there is no preset {name!r}; choose one of {', '.join((*PRESETS, *RECIPES))}")
    if len(tasks) != 1 or tasks[0] not in RECIPES[name]:
        known = ", ".join(map(str, RECIPES[name]))
        raise SettingsError(
            f"preset {name!r} trains one task at a time, of {known}, not {list(tasks)}; "
            "`spmn sweep babi` trains one network for each of several"
        )
    return RECIPES[name][tasks[0]]


AS_SINGLE = "as single"
"""Renaming of a preset for several tasks: each task's as in its recipe."""


def _names(tasks: Sequence[int]) -> str:
    """Groups of names of each of these tasks, as `spmn.renaming.by_task` reads them."""
    recipes = {task: RECIPES["single"][task].training.rename for task in tasks}
    return "; ".join(f"{task}: {names}" for task, names in recipes.items() if names)


def changed(preset: Preset, changes: Sequence[str]) -> Preset:
    """The preset with some settings replaced, each given as "name=value", such as "depth=2".

    Raises SettingsError for a name that is no setting, and a value of the wrong kind or out of range.
    """
    for change in changes:
        wanted, equals, text = change.partition("=")
        for part in ("network", "training"):
            settings = getattr(preset, part)
            kinds = {name: type(value) for name, value in to_dict(settings).items()}
            if equals and wanted in kinds:
                try:
                    value = _truth(text) if kinds[wanted] is bool else kinds[wanted](text)
                except ValueError:
                    must_be = _KINDS[kinds[wanted]]
                    raise SettingsError(f"{wanted} is {text!r}; it must be {must_be}") from None
                preset = replace(preset, **{part: replace(settings, **{wanted: value})})
                break
        else:
            known = ", ".join((*to_dict(preset.network), *to_dict(preset.training)))
            raise SettingsError(f"{change!r} changes no setting; write NAME=VALUE, NAME one of {known}")
    return preset


_KINDS = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def to_dict(settings: Network | Training) -> dict[str, Any]:
    """Plain values for JSON; `Network(**to_dict(n)) == n`."""
    return dataclasses.asdict(settings)


def _from_dict(settings: Mapping[str, Any]) -> Preset:
    """The default preset with some settings replaced."""
    return changed(Preset(), [f"{name}={value}" for name, value in settings.items()])


def _read() -> tuple[dict[str, Preset], dict[str, dict[int, Preset]]]:
    """Presets and recipes of presets.json: settings other than the default ones, and under "tasks" those of
    each task besides."""
    found = json.loads(files("spmn").joinpath("presets.json").read_text(encoding="utf-8"))
    presets, recipes = dict[str, Preset](), dict[str, dict[int, Preset]]()
    for name, settings in found.items():
        tasks = settings.pop("tasks", None)
        if tasks is None:
            presets[name] = _from_dict(settings)
        else:
            recipes[name] = {int(task): _from_dict({**settings, **own}) for task, own in tasks.items()}
    return presets, recipes


PRESETS, RECIPES = _read()
