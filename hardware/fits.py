"""Will a program fit on a chip: populations and synapses mapped to neuro-cores.

    incoming projections --> slices of a population, one core each --> several slices packed into a core

The limits of a chip are in hardware/chips/<chip>.json, each with its source and whether it is an assumption.
The result is an estimate from public numbers; the last word has the vendor's compiler.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from hardware.arithmetic import Bool, quantise_weights
from hardware.checks import IntArray
from hardware.errors import RunError
from hardware.program import PlasticProjection, Population, Program, Projection
from hardware.rules import ChipRule

ASSUMPTIONS = (
    "several populations share a core if their settings fit (place(pack=False): cores of their own, as in "
    "Lava's compiler)",
    "a population is cut into runs of consecutive neurons; plastic synapses lie in the core of their neuron",
    "every projection has its own input axon for every source neuron and core, and its own output axon",
    "a third factor takes an axon per neuron and no synaptic memory",
    "input axons are driven by an embedded processor and take no output axons",
    "a synapse of a projection with any delay stores its delay; a dense one stores weight 0 as well",
)


@dataclass(frozen=True)
class Limit:
    """A number of a chip; widths: the widths in bits that the chip can store, smallest first."""

    value: int
    unit: str
    source: str
    assumption: bool
    widths: tuple[int, ...] = ()


@dataclass(frozen=True)
class Chip:
    """A chip's limits, and what its operations cost in pJ, empty where nothing is published."""

    name: str
    title: str
    limits: Mapping[str, Limit]
    energy: Mapping[str, float]

    def __getitem__(self, limit: str) -> int:
        return self.limits[limit].value

    @property
    def assumptions(self) -> tuple[str, ...]:
        """The limits that are assumptions, in words."""
        return tuple(
            f"{name.replace('_', ' ')}: {limit.value:,} {limit.unit} ({limit.source})"
            for name, limit in self.limits.items()
            if limit.assumption
        )

    def width(self, limit: str, bits: int) -> int:
        """The smallest width of the chip that holds so many bits."""
        return min(width for width in self.limits[limit].widths if width >= min(bits, self[limit]))


class Use(NamedTuple):
    """What is taken of one core; synaptic memory in bits."""

    neurons: int = 0
    input_axons: int = 0
    output_axons: int = 0
    synaptic_memory: int = 0


@dataclass(frozen=True)
class Core:
    """A neuro-core in use: what is taken of it, and the populations that lie in it."""

    use: Use
    populations: tuple[str, ...]


@dataclass(frozen=True)
class Placed:
    """Where a population lies: its cores, counted from 0, the synapses stored there and what both take."""

    name: str
    cores: tuple[int, ...]
    synapses: int
    use: Use


@dataclass(frozen=True)
class Problem:
    """Why a program does not fit: `what` is `value`, the chip has `limit`."""

    what: str
    value: int
    limit: int
    advice: str

    def __str__(self) -> str:
        return f"{self.what}: {self.value:,}, the limit is {self.limit:,}: {self.advice}"


@dataclass(frozen=True)
class Placement:
    """A program on `chips` chips.

    Args:
        populations: in the program's order. cores: those in use.
        problems: why it does not fit, nothing if it does. What a core cannot hold is counted as if it could.
        assumptions: what the result rests on that is not known of the chip.
    """

    chip: Chip
    chips: int
    populations: tuple[Placed, ...]
    cores: tuple[Core, ...]
    problems: tuple[Problem, ...]
    assumptions: tuple[str, ...]

    @property
    def fits(self) -> bool:
        return not self.problems

    @property
    def cores_available(self) -> int:
        return self.chips * self.chip["cores"]

    @property
    def chips_needed(self) -> int:
        """Chips whose cores together are enough."""
        return -(-len(self.cores) // self.chip["cores"])

    def population_rows(self) -> list[tuple[str | int, ...]]:
        """(population, neurons, cores, synapses, kbit of synaptic memory, input axons, output axons)."""
        return [
            (
                placed.name,
                placed.use.neurons,
                len(placed.cores),
                placed.synapses,
                -(-placed.use.synaptic_memory // 1024),
                placed.use.input_axons,
                placed.use.output_axons,
            )
            for placed in self.populations
        ]

    def resource_rows(self) -> list[tuple[str, int, int, float | None, int | None, int | None, str]]:
        """(resource, used, available, % used, fullest core, limit of a core, source of the limit).

        Available is what the cores in use have; for the cores themselves, what the chips have.
        """
        limit = self.chip.limits["cores"]
        used, available = len(self.cores), self.cores_available
        share = _percent(used, available)
        rows: list[tuple[str, int, int, float | None, int | None, int | None, str]] = [
            ("cores", used, available, share, None, None, _source(limit))
        ]
        for resource in Use._fields:
            limit = self.chip.limits[resource]
            each = [getattr(core.use, resource) for core in self.cores]
            used, available = sum(each), len(each) * limit.value
            rows.append(
                (
                    resource.replace("_", " "),
                    used,
                    available,
                    _percent(used, available),
                    max(each, default=0),
                    limit.value,
                    _source(limit),
                )
            )
        return rows


def chip_names() -> list[str]:
    """Chips that `load_chip` knows."""
    names = (entry.name for entry in (files("hardware") / "chips").iterdir())
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def load_chip(name: str) -> Chip:
    """A chip by name. Raises RunError if there is no such chip."""
    if name not in chip_names():
        raise RunError(f"chip is {name!r}: use one of {', '.join(map(repr, chip_names()))}")
    content = json.loads((files("hardware") / "chips" / f"{name}.json").read_text(encoding="utf-8"))
    limits = {
        key: Limit(
            entry["value"],
            entry["unit"],
            entry["source"],
            entry["assumption"],
            tuple(entry.get("widths", ())),
        )
        for key, entry in content["limits"].items()
    }
    energy = {key: float(entry["value"]) for key, entry in content["energy"].items()}
    return Chip(name, content["title"], limits, energy)


def place(program: Program, chip: str = "loihi2", chips: int = 1, pack: bool = True) -> Placement:
    """Map a program to the cores of `chips` chips.

    A population is cut into slices of consecutive neurons, each as long as one core allows. n neurons take n
    neurons of a core and, of every incoming projection,

        one input axon per source neuron with a synapse there, or plastic_axons if it is plastic
        bits = sum over these sources of ceil((k * width + block_header) / memory_word) * memory_word,
            in blocks of k <= block_synapses synapses
        width = weight bits + delay bits + tag bits + index bits (of sparse storage: log2 n, rounded up)

    and an output axon per neuron, outgoing projection and core where it has a synapse. So a cut of a target
    costs its sources output axons and may cut them in turn, until nothing changes. Slices are then packed
    into cores, first fit in the program's order. Source of the memory layout: nengo-loihi block.py.

    Args:
        chip: one of `chip_names`.
        chips: chips of the board.
        pack: False gives every population cores of its own.

    Raises:
        RunError: there is no such chip, or chips < 1.
    """
    limits = load_chip(chip)
    if chips < 1:
        raise RunError(f"chips is {chips}: give at least 1")
    slices, too_large = _cut(program, limits)
    cores = _pack([part for parts in slices.values() for part in parts], limits, pack)
    lies_in: dict[str, list[int]] = {name: [] for name in slices}
    for index, core in enumerate(cores):
        for part in core.slices:
            lies_in[part.name].append(index)
    placed = tuple(
        Placed(
            name,
            tuple(lies_in[name]),
            sum(part.synapses for part in parts),
            _total(part.use for part in parts),
        )
        for name, parts in slices.items()
    )
    problems = [
        *_missing_features(program, limits),
        *too_large,
        *_too_many_rules(slices, limits),
        *_too_few_chips(placed, len(cores), limits, chips),
    ]
    taken = tuple(Core(core.use, tuple(part.name for part in core.slices)) for core in cores)
    return Placement(limits, chips, placed, taken, tuple(problems), (*limits.assumptions, *ASSUMPTIONS))


def synapse_bits(projection: Projection | PlasticProjection, chip: Chip) -> int:
    """Bits of weight, delay and tags of a synapse, without the index of sparse storage.

    Mixed weights of num_weight_bits include their sign, as they are even; learned mixed weights are not.
    """
    if isinstance(projection, PlasticProjection):
        learned = 9 if projection.sign_mode == "mixed" else 8
        tags = sum(chip[f"{tag}_bits"] for tag in ("tag_1", "tag_2") if tag in projection.rule.series)
        return chip.width("weight_bits", learned) + tags
    delay = chip["delay_bits"] if np.any(projection.delays) else 0
    return chip.width("weight_bits", projection.num_weight_bits) + delay


@dataclass(frozen=True)
class _Incoming:
    """Synapses of a projection, or a third factor, as the cores of its target see them.

    stored: [post, pre] synapses that are stored, None for all; per_neuron: source i reaches neuron i only.
    """

    source: str
    axons: int
    width: int
    pre: int
    stored: Bool | None = None
    per_neuron: bool = False
    rule: ChipRule | None = None

    def reached(self, first: int, last: int) -> Bool:
        """[pre] source neurons with a synapse at the neurons first .. last - 1."""
        if self.per_neuron:
            inside = np.zeros(self.pre, dtype=np.bool_)
            inside[first:last] = True
            return inside
        if self.stored is None:
            return np.ones(self.pre, dtype=np.bool_)
        reached: Bool = np.any(self.stored[first:last], axis=0)
        return reached

    def take(self, first: int, last: int, chip: Chip) -> tuple[Use, int]:
        """What the synapses at the neurons first .. last - 1 take of a core, and their number."""
        neurons = last - first
        if self.per_neuron:
            return Use(input_axons=neurons * self.axons), 0
        if self.stored is None:
            bits = self.pre * int(_memory(np.array([neurons]), self.width, chip)[0])
            return Use(input_axons=self.pre * self.axons, synaptic_memory=bits), neurons * self.pre
        counts = np.count_nonzero(self.stored[first:last], axis=0)
        counts = counts[counts > 0]
        width = self.width + chip.width("index_bits", (neurons - 1).bit_length())
        memory = int(_memory(counts, width, chip).sum())
        return Use(input_axons=len(counts) * self.axons, synaptic_memory=memory), int(counts.sum())


def _memory(counts: IntArray, width: int, chip: Chip) -> IntArray:
    """Bits of the synapses of axons with so many of them."""
    header, word = chip["block_header"], chip["memory_word"]
    full, rest = np.divmod(counts, chip["block_synapses"])
    block = -(-(chip["block_synapses"] * width + header) // word) * word
    last: IntArray = -(-(rest * width + header) // word) * word
    return full * block + np.where(rest > 0, last, 0)


def _incoming(program: Program, chip: Chip) -> dict[str, list[_Incoming]]:
    incoming: dict[str, list[_Incoming]] = {population.name: [] for population in program.populations}
    for projection in program.projections:
        stored = None
        if projection.storage == "sparse":
            bits = projection.num_weight_bits
            stored = quantise_weights(projection.weights, projection.sign_mode, bits) != 0
        width = synapse_bits(projection, chip)
        synapses = _Incoming(projection.source, 1, width, projection.weights.shape[1], stored)
        incoming[projection.target].append(synapses)
    for plastic in program.plastic:
        post, pre = plastic.weights.shape
        axons = chip["plastic_axons"]
        learning = _Incoming(plastic.source, axons, synapse_bits(plastic, chip), pre, rule=plastic.rule)
        factors = [
            _Incoming(source, 1, 0, post, per_neuron=True) for source in plastic.third_factors if source
        ]
        incoming[plastic.target] += [learning, *factors]
    return incoming


@dataclass(frozen=True)
class _Slice:
    """Neurons first .. last - 1 of a population, on one core."""

    population: Population
    first: int
    last: int
    use: Use
    synapses: int
    rules: frozenset[ChipRule]

    @property
    def name(self) -> str:
        return self.population.name


def _cut(program: Program, chip: Chip) -> tuple[dict[str, list[_Slice]], list[Problem]]:
    """Slices of every population, and the neurons that no core can hold."""
    incoming = _incoming(program, chip)
    outputs = {p.name: np.zeros(p.size, dtype=np.int64) for p in program.populations}
    slices: dict[str, list[_Slice]] = {}
    problems: dict[str, list[Problem]] = {}
    changed = program.populations
    while changed:
        for population in changed:
            name = population.name
            slices[name], problems[name] = _slices(population, incoming[name], outputs[name], chip)
        needed = {name: np.zeros_like(axons) for name, axons in outputs.items()}
        for target, synapses in incoming.items():
            for item in synapses:
                if item.source in needed:
                    for part in slices[target]:
                        needed[item.source] += item.reached(part.first, part.last)
        changed = tuple(p for p in program.populations if np.any(needed[p.name] > outputs[p.name]))
        # the larger of both: axons only ever grow, so this ends
        outputs = {name: np.maximum(outputs[name], needed[name]) for name in outputs}
    return slices, [problem for found in problems.values() for problem in found]


def _slices(
    population: Population, incoming: Sequence[_Incoming], outputs: IntArray, chip: Chip
) -> tuple[list[_Slice], list[Problem]]:
    rules = frozenset(item.rule for item in incoming if item.rule is not None)
    sent = np.concatenate([[0], np.cumsum(outputs)])
    problems: dict[str, Problem] = {}

    def part(first: int, last: int) -> _Slice:
        taken = [item.take(first, last, chip) for item in incoming]
        own = Use(neurons=last - first, output_axons=int(sent[last] - sent[first]))
        use = _total([own, *(use for use, _ in taken)])
        return _Slice(population, first, last, use, sum(count for _, count in taken), rules)

    def fits(use: Use) -> bool:
        return all(
            taken <= chip[resource] or resource in problems
            for resource, taken in zip(Use._fields, use, strict=True)
        )

    slices: list[_Slice] = []
    first = 0
    while first < population.size:
        best = part(first, first + 1)
        for resource, taken in zip(Use._fields, best.use, strict=True):
            if taken > chip[resource] and resource not in problems:
                problems[resource] = _one_neuron(best, resource, taken, chip[resource])
        low, high = first + 2, min(population.size, first + chip["neurons"])
        while low <= high:
            middle = (low + high) // 2
            longer = part(first, middle)
            if fits(longer.use):
                best, low = longer, middle + 1
            else:
                high = middle - 1
        slices.append(best)
        first = best.last
    return slices, list(problems.values())


def _one_neuron(part: _Slice, resource: str, value: int, limit: int) -> Problem:
    advice = {
        "input_axons": f"connect {value - limit:,} fewer source neurons, or let neurons in between sum them",
        "output_axons": "let it reach fewer cores: smaller targets, or neurons in between that pass it on",
        "synaptic_memory": f"about {part.synapses * limit // value:,} of its {part.synapses:,} synapses fit: "
        "connect fewer source neurons, store weights of 0 sparsely or use fewer weight bits",
    }[resource]
    what = resource.replace("_", " ") + (" in bits" if resource == "synaptic_memory" else "")
    return Problem(f"neuron {part.first} of {part.name!r}: {what}", value, limit, advice)


@dataclass
class _OpenCore:
    use: Use = field(default_factory=Use)
    slices: list[_Slice] = field(default_factory=list)
    settings: set[tuple[str | int, ...]] = field(default_factory=set)
    thresholds: set[int] = field(default_factory=set)
    rules: set[ChipRule] = field(default_factory=set)

    def takes(self, part: _Slice, chip: Chip) -> bool:
        return (
            all(
                mine + its <= chip[name]
                for name, mine, its in zip(Use._fields, self.use, part.use, strict=True)
            )
            and len(self.settings | {_settings(part.population)}) <= chip["neuron_settings"]
            and len(self.thresholds | {part.population.vth}) <= chip["thresholds"]
            and len(self.rules | part.rules) <= chip["learning_rules"]
        )

    def add(self, part: _Slice) -> None:
        self.use = _total([self.use, part.use])
        self.slices.append(part)
        self.settings.add(_settings(part.population))
        self.thresholds.add(part.population.vth)
        self.rules |= part.rules


def _pack(parts: Sequence[_Slice], chip: Chip, pack: bool) -> list[_OpenCore]:
    cores: list[_OpenCore] = []
    for part in parts:
        core = next((core for core in cores if core.takes(part, chip)), None) if pack else None
        if core is None:
            core = _OpenCore()
            cores.append(core)
        core.add(part)
    return cores


def _settings(population: Population) -> tuple[str | int, ...]:
    """What neurons of one setting share on a core; the threshold counts apart."""
    interval = population.reset_interval
    offset = population.reset_offset % interval if interval else 0
    return population.kind, population.du, population.dv, population.bias_exp, interval, offset


def _missing_features(program: Program, chip: Chip) -> list[Problem]:
    inputs = {axons.name for axons in program.inputs}
    payloads = {population.name: 1 for population in program.populations if population.kind == "relay"}
    projections: tuple[Projection | PlasticProjection, ...] = (*program.projections, *program.plastic)
    for projection in projections:
        bits = projection.num_message_bits
        if projection.source in payloads or (projection.source in inputs and bits > 1):
            payloads[projection.source] = max(bits, payloads.get(projection.source, 0))
    wide = {name: bits for name, bits in payloads.items() if bits > chip["payload_bits"]}
    graded = [part.name for part in program.plastic if part.graded != "none" and not chip["payload_bits"]]
    factors = {part.name: 3 - part.third_factors.count("") for part in program.plastic}
    modulated = {name: count for name, count in factors.items() if count > chip["third_factors"]}
    resets = [p.name for p in program.populations if p.reset_interval and not chip["resets"]]
    found = (
        (
            wide,
            "bits of payload of the spikes of",
            max(wide.values(), default=0),
            "payload_bits",
            "use LIF neurons and num_message_bits 0, or a chip with graded spikes",
        ),
        (
            graded,
            "graded spikes in the learning of",
            len(graded),
            "payload_bits",
            "use graded 'none' and an x1_impulse, or a chip with graded spikes",
        ),
        (
            modulated,
            "third factors of",
            max(modulated.values(), default=0),
            "third_factors",
            "use a two-factor rule, or a chip with three-factor rules",
        ),
        (
            resets,
            "populations with a periodic reset,",
            len(resets),
            "resets",
            "let u and v decay instead (reset_interval 0), or use a chip with programmable neurons",
        ),
    )
    return [
        Problem(f"{what} {_some(names)}", value, chip[limit], advice)
        for names, what, value, limit, advice in found
        if names
    ]


def _too_many_rules(slices: Mapping[str, Sequence[_Slice]], chip: Chip) -> list[Problem]:
    limit = chip["learning_rules"]
    return [
        Problem(
            f"learning rules that end at {name!r}",
            len(parts[0].rules),
            limit,
            "use the same rule for several projections, or split the population",
        )
        for name, parts in slices.items()
        if len(parts[0].rules) > limit
    ]


def _too_few_chips(placed: Sequence[Placed], cores: int, chip: Chip, chips: int) -> list[Problem]:
    problems = []
    largest = sorted(placed, key=lambda part: -len(part.cores))[:3]
    if cores > chips * chip["cores"]:
        needed = -(-cores // chip["cores"])
        names = ", ".join(f"{part.name} ({len(part.cores):,})" for part in largest)
        advice = f"use {needed:,} chips, or make smaller what takes most cores: {names}"
        problems.append(Problem("cores", cores, chips * chip["cores"], advice))
    synapses = sum(part.synapses for part in placed)
    if synapses > chips * chip["synapses"]:
        needed = -(-synapses // chip["synapses"])
        advice = f"use {needed:,} chips, or store weights of 0 sparsely"
        problems.append(Problem("synapses", synapses, chips * chip["synapses"], advice))
    return problems


def _total(uses: Iterable[Use]) -> Use:
    return Use(*(sum(column) for column in zip(*uses, strict=True)))


def _some(names: Iterable[str]) -> str:
    """Names of at most four, and how many there are."""
    quoted = [repr(name) for name in names]
    more = f" and {len(quoted) - 3:,} more" if len(quoted) > 4 else ""
    return ", ".join(quoted[:3] if more else quoted) + more


def _percent(used: int, available: int) -> float | None:
    return round(100 * used / available, 1) if available else None


def _source(limit: Limit) -> str:
    return f"assumed; {limit.source}" if limit.assumption else limit.source
