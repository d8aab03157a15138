"""The deployed network: populations, projections, clock lines and probes in chip integers, and nothing else.

    input axons --> Projection --> Population --> PlasticProjection --> Population --> Projection --> ...

A program is checked when it is built, holds no state, and is saved by `hardware.files`. A projection costs
one time step, a population none. Steps of a run count from 1; steps inside an event count from 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from hardware.arithmetic import WEIGHT_LIMITS
from hardware.checks import (
    MAX_SIZE,
    IntArray,
    Value,
    check_choice,
    check_int,
    check_name,
    check_shape,
    check_unique,
    integer_array,
)
from hardware.errors import ProgramError
from hardware.host import Host, Schedule
from hardware.rules import ChipRule

SignMode = Literal["mixed", "excitatory", "inhibitory"]
Storage = Literal["dense", "sparse"]
Variable = Literal["spikes", "u", "v", "weights", "x1", "x2", "y1", "y2", "y3", "tag_1", "tag_2"]
Graded = Literal["none", "overwrite", "add_saturate", "add_overflow"]

GRADED_MODES: tuple[Graded, ...] = ("none", "overwrite", "add_saturate", "add_overflow")
"""How a graded spike sets x1, in the order of Lava's GradedSpikeCfg 0..3."""

MAX_DELAY = 63
MAX_SEED = 2**31 - 4
POPULATION_VARIABLES = ("spikes", "u", "v")
PLASTIC_VARIABLES = ("weights", "x1", "x2", "y1", "y2", "y3", "tag_1", "tag_2")


@dataclass(frozen=True)
class InputAxons:
    """Axons driven from outside; their spikes may carry a payload."""

    name: str
    size: int

    def __post_init__(self) -> None:
        check_name(self.name)
        check_int(self.name, "size", self.size, 1, MAX_SIZE)


@dataclass(frozen=True, eq=False)
class Population(Value):
    """Neurons that share their constants.

    kind "lif" is Lava's LIF (LIFReset if reset_interval > 0: u and v are cleared, before the update, at every
    step t with t % reset_interval == reset_offset % reset_interval); "relay" is Lava's GradedVec, which
    passes on any input of magnitude above vth and has no state.

    Args:
        vth: 0..131071; a LIF fires at v > 64 * vth.
        du, dv: decay of u (current) and v in 4096ths; du has a built-in + 1 (4095: no memory, -1: no
            decay), dv has none (4096: no memory, 0: no decay).
        bias_mant, bias_exp: bias_mant << bias_exp is added to v at every step; bias_mant is one integer or
            [size] integers of -4096..4095.
    """

    name: str
    size: int
    kind: Literal["lif", "relay"] = "lif"
    vth: int = 0
    du: int = 4095
    dv: int = 0
    bias_mant: int | IntArray = 0
    bias_exp: int = 0
    reset_interval: int = 0
    reset_offset: int = 0

    def __post_init__(self) -> None:
        check_name(self.name)
        check_choice(self.name, "kind", self.kind, ("lif", "relay"))
        check_int(self.name, "size", self.size, 1, MAX_SIZE)
        check_int(self.name, "vth", self.vth, 0, 2**17 - 1)
        check_int(self.name, "du", self.du, -1, 4095)
        check_int(self.name, "dv", self.dv, 0, 4096)
        check_int(self.name, "bias_exp", self.bias_exp, 0, 7)
        check_int(self.name, "reset_interval", self.reset_interval, 0, 2**31 - 1)
        check_int(self.name, "reset_offset", self.reset_offset, 0, 2**31 - 1)
        if isinstance(self.bias_mant, int):
            check_int(self.name, "bias_mant", self.bias_mant, -4096, 4095)
        else:
            bias = integer_array(self.name, "bias_mant", self.bias_mant, 1, -4096, 4095)
            check_shape(self.name, "bias_mant", bias, (self.size,))
            object.__setattr__(self, "bias_mant", bias)
        if self.kind == "relay" and (np.any(self.bias_mant) or self.reset_interval):
            raise ProgramError(
                f"{self.name}: a relay has neither bias nor reset: remove them or use kind 'lif'"
            )


@dataclass(frozen=True, eq=False)
class Projection(Value):
    """Fixed synapses: Lava's Dense or Sparse, or DelayDense or DelaySparse if delays are given.

    Args:
        weights: [post, pre]; mixed -256..255 (kept even by the chip), excitatory 0..255, inhibitory -255..0.
        weight_exp: the summed weights are shifted by it, left if positive, right (flooring) if negative.
        num_weight_bits: weights are truncated to this many bits.
        num_message_bits: 0 for spikes without payload, else the payload's width.
        delays: extra steps 0..63, one integer or [post, pre]; a spike of step t arrives at t + 1 + delay.
        storage: "sparse" keeps synapses of nonzero weight only; the spikes are the same.
    """

    name: str
    source: str
    target: str
    weights: IntArray
    weight_exp: int = 0
    num_weight_bits: int = 8
    sign_mode: SignMode = "mixed"
    num_message_bits: int = 0
    delays: int | IntArray = 0
    storage: Storage = "dense"

    def __post_init__(self) -> None:
        _check_synapses(self)
        check_choice(self.name, "storage", self.storage, ("dense", "sparse"))
        if isinstance(self.delays, int):
            check_int(self.name, "delays", self.delays, 0, MAX_DELAY)
        else:
            delays = integer_array(self.name, "delays", self.delays, 2, 0, MAX_DELAY)
            check_shape(self.name, "delays", delays, self.weights.shape)
            object.__setattr__(self, "delays", delays)
        if self.storage == "dense" and np.any(self.delays) and self.weight_exp < 0 and self.num_message_bits:
            largest = int(np.abs(self.weights).sum(axis=1).max()) * (2**self.num_message_bits - 1)
            if largest >= 2**31:
                raise ProgramError(
                    f"{self.name}: weights times payloads may sum to {largest}, beyond 32 bits, which Lava "
                    "does not wrap in a dense projection with delays: store it sparsely, or use fewer "
                    "message bits"
                )


@dataclass(frozen=True, eq=False)
class PlasticProjection(Value):
    """Synapses that learn at run time: Lava's LearningDense.

    The rule sees pre and post spikes in the step in which source and target send them. Weights are initial
    values; tags start at 0.

    Args:
        rule: the chip's learning rule.
        seed: of the rule's random streams; give every projection its own.
        graded: how a spike of payload p sets x1, with h = round_half_even(p/2) % 256. "none": x1 grows by its
            impulse; "overwrite": x1 = h, so that a payload of 1 reads without a trace; "add_saturate":
            x1 = min((x1 + h) % 256, 127); "add_overflow": only the excess over 127 stays, and only it
            counts as x0.
        third_factors: sources of y1, y2 and y3. "" for all three: a two-factor rule, where post spikes drive
            the traces. Otherwise a three-factor rule: at every step y1, y2, y3 are what these populations (of
            the target's size, such as relays of a reward) send, 0 where "".
        The others are those of `Projection`.
    """

    name: str
    source: str
    target: str
    weights: IntArray
    rule: ChipRule
    seed: int
    weight_exp: int = 0
    num_weight_bits: int = 8
    sign_mode: SignMode = "excitatory"
    num_message_bits: int = 8
    graded: Graded = "none"
    third_factors: tuple[str, str, str] = ("", "", "")

    def __post_init__(self) -> None:
        _check_synapses(self)
        object.__setattr__(self, "third_factors", tuple(self.third_factors))
        if len(self.third_factors) != 3:
            raise ProgramError(
                f"{self.name}: third_factors is {self.third_factors}: give the sources of y1, y2 and y3"
            )
        for trace in ("y1", "y2", "y3"):
            set_by_spikes = getattr(self.rule, f"{trace}_impulse") or getattr(self.rule, f"{trace}_tau")
            if self.three_factor and set_by_spikes:
                raise ProgramError(
                    f"{self.name}: third factors set {trace}, so {trace}_impulse and {trace}_tau must be 0"
                )
        check_int(self.name, "seed", self.seed, 0, MAX_SEED)
        check_choice(self.name, "graded", self.graded, GRADED_MODES)
        if self.graded == "none":
            return
        if self.num_message_bits == 0:
            raise ProgramError(
                f"{self.name}: graded is {self.graded!r} but num_message_bits is 0: give the payload's width"
            )
        if self.rule.x1_impulse != 0:
            raise ProgramError(
                f"{self.name}: x1_impulse is {self.rule.x1_impulse}: it must be 0 where graded spikes set x1"
            )
        if self.rule.uses("x1") and self.rule.x1_tau == 0:
            raise ProgramError(
                f"{self.name}: x1_tau is 0, so x1 is cleared before the rule sees it: give at least 1"
            )

    @property
    def three_factor(self) -> bool:
        """True if third factors set the y traces."""
        return any(self.third_factors)


@dataclass(frozen=True)
class Probe:
    """Record a variable of a population or plastic projection.

    Populations have "spikes", "u" and "v"; plastic projections "weights", traces "x1", "x2", "y1", "y2", "y3"
    and, if their rule changes them, tags "tag_1" (t) and "tag_2" (d). Recorded at the end of the steps
    t = 1, 2, .. with t % every == offset % every.
    """

    target: str
    variable: Variable = "spikes"
    every: int = 1
    offset: int = 0

    def __post_init__(self) -> None:
        owner = f"probe of {self.target}"
        check_choice(owner, "variable", self.variable, POPULATION_VARIABLES + PLASTIC_VARIABLES)
        check_int(owner, "every", self.every, 1, 2**31 - 1)
        check_int(owner, "offset", self.offset, 0, 2**31 - 1)

    @property
    def key(self) -> tuple[str, str]:
        """(target, variable): what the probe is called in a recording."""
        return self.target, self.variable


@dataclass(frozen=True)
class Program:
    """One deployed network. Checked on construction; two programs are equal if all their parts are.

    Raises:
        ProgramError: parts contradict each other, or a number is out of the chip's range.
    """

    name: str
    inputs: tuple[InputAxons, ...]
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...] = ()
    plastic: tuple[PlasticProjection, ...] = ()
    probes: tuple[Probe, ...] = ()
    schedule: Schedule | None = None
    host: Host | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("inputs", "populations", "projections", "plastic", "probes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self.validate()

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Number of axons or neurons of every input and population."""
        sizes = {axons.name: axons.size for axons in self.inputs}
        return sizes | {population.name: population.size for population in self.populations}

    def validate(self) -> None:
        """Check everything that involves more than one part; raises ProgramError."""
        check_name(self.name)
        if not self.inputs:
            raise ProgramError(
                f"{self.name}: no inputs, whose length says how many steps a run has: add input axons"
            )
        for name, value in self.attributes.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise ProgramError(f"attribute {name!r} is {value!r}: attributes are texts")
        projections: tuple[Projection | PlasticProjection, ...] = (*self.projections, *self.plastic)
        check_unique(
            "part",
            [axons.name for axons in self.inputs]
            + [population.name for population in self.populations]
            + [projection.name for projection in projections],
        )
        for projection in projections:
            self._check_ends(projection)
        for plastic in self.plastic:
            self._check_third_factors(plastic)
        self._check_probes()
        self._check_schedule()
        if self.host is not None:
            self._check_host(self.host)

    def _check_ends(self, projection: Projection | PlasticProjection) -> None:
        populations = {population.name: population for population in self.populations}
        if projection.source not in self.sizes:
            raise ProgramError(
                f"{projection.name}: the source {projection.source!r} is no input or population"
            )
        if projection.target not in populations:
            raise ProgramError(f"{projection.name}: the target {projection.target!r} is no population")
        shape = (self.sizes[projection.target], self.sizes[projection.source])
        check_shape(projection.name, "weights", projection.weights, shape)
        source = populations.get(projection.source)
        if source is not None and source.kind == "relay" and projection.num_message_bits == 0:
            raise ProgramError(
                f"{projection.name}: the relay {source.name!r} sends payloads, which num_message_bits 0 "
                "drops: give the payload's width"
            )

    def _check_third_factors(self, plastic: PlasticProjection) -> None:
        sizes = {population.name: population.size for population in self.populations}
        for source in filter(None, plastic.third_factors):
            if sizes.get(source) != sizes[plastic.target]:
                raise ProgramError(
                    f"{plastic.name}: the third factor {source!r} must be a population of "
                    f"{sizes[plastic.target]} neurons, one per post neuron, found {sizes.get(source)}"
                )

    def _check_probes(self) -> None:
        check_unique("probe", [(probe.target, probe.variable) for probe in self.probes])
        kinds = {population.name: population.kind for population in self.populations}
        plastic = {projection.name: projection for projection in self.plastic}
        for probe in self.probes:
            known = set(plastic) if probe.variable in PLASTIC_VARIABLES else set(kinds)
            if probe.target not in known:
                what = "plastic projection" if probe.variable in PLASTIC_VARIABLES else "population"
                raise ProgramError(f"probe of {probe.variable!r}: {probe.target!r} is no {what}")
            if probe.variable in ("u", "v") and kinds[probe.target] == "relay":
                raise ProgramError(
                    f"probe of {probe.variable!r}: the relay {probe.target!r} has no state, probe its spikes"
                )
            if probe.variable.startswith("tag") and probe.variable not in plastic[probe.target].rule.series:
                raise ProgramError(
                    f"probe of {probe.variable!r}: the rule of {probe.target!r} never changes it"
                )

    def _check_schedule(self) -> None:
        axons = {axons.name: axons.size for axons in self.inputs}
        for line in self.schedule.lines if self.schedule is not None else ():
            if axons.get(line.name) != 1:
                raise ProgramError(f"clock line {line.name!r}: add the input axons {line.name!r} of size 1")

    def _check_host(self, host: Host) -> None:
        if self.schedule is None:
            raise ProgramError("the program has a host but no schedule: add the window of an event")
        axons = {axons.name: axons.size for axons in self.inputs}
        tokens = host.tokens
        driven = [(tokens.name, tokens.ends * tokens.positions * len(host.vocabulary))]
        if host.time is not None:
            driven.append((host.time.name, host.time.code.shape[1]))
        for name, size in driven:
            if axons.get(name) != size:
                raise ProgramError(
                    f"host: the input axons {name!r} must have size {size}, found {axons.get(name)}"
                )
        check_unique(
            "driven input", [name for name, _ in driven] + [line.name for line in self.schedule.lines]
        )
        probed = {probe.target for probe in self.probes if probe.variable == "spikes" and probe.every == 1}
        for readout in host.readouts:
            for population in readout.populations:
                if population not in probed:
                    raise ProgramError(
                        f"{readout.name}: add a probe of the spikes of {population!r} at every step"
                    )
            neurons = sum(self.sizes[population] for population in readout.populations)
            check_shape(readout.name, "weights", readout.weights, (len(readout.answers), neurons))


def _check_synapses(projection: Projection | PlasticProjection) -> None:
    """Checks that fixed and plastic projections share; stores the weights as read-only int64."""
    name = projection.name
    check_name(name)
    check_choice(name, "sign_mode", projection.sign_mode, tuple(WEIGHT_LIMITS))
    check_int(name, "weight_exp", projection.weight_exp, -8, 7)
    check_int(name, "num_weight_bits", projection.num_weight_bits, 1, 8)
    check_int(name, "num_message_bits", projection.num_message_bits, 0, 24)
    weights = integer_array(name, "weights", projection.weights, 2, *WEIGHT_LIMITS[projection.sign_mode])
    object.__setattr__(projection, "weights", weights)
