"""Random programs that are alive: every population spikes, and plastic weights change.

A case is drawn from its seed, run on the emulator, and drawn anew until it is alive. Everything a program can
have occurs: both kinds of population, leaks, biases, resets, recurrence, all sign modes, exponents and weight
widths, delays by projection and by synapse, dense and sparse storage, payloads, all graded modes, two- and
three-factor rules on weights and tags, epochs of 1 to 16 steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from hardware.arithmetic import WEIGHT_LIMITS
from hardware.emulator import Emulator
from hardware.errors import ProgramError, RuleError, RunError
from hardware.inputs import IntData
from hardware.program import (
    GRADED_MODES,
    Graded,
    InputAxons,
    PlasticProjection,
    Population,
    Probe,
    Program,
    Projection,
    SignMode,
)
from hardware.rules import ChipRule

SIGN_MODES: tuple[SignMode, ...] = ("mixed", "excitatory", "inhibitory")
STEPS = 40
ATTEMPTS = 200
SYNAPTIC = ("weights", "tag_1", "tag_2")
RULES = (
    "2^1*x1*x0*y0*(254-w) - 2^0*x0*x1*w",
    "2^-2*x1*y0 - 2^-2*y1*x0",
    "x0*x1*y0 - 2^-1*y0*w + 2^-3*x0*y1",
)
FACTORS = (
    *("x1", "x2", "y1", "y2", "y3", "w", "x0", "y0", "x1", "y1", "t", "d"),
    *("(w-3)", "(254-w)", "(5-w)", "(x1+4)", "(7-y1)", "(127-x2)", "(x1-20)", "(t+5)"),
)


@dataclass(frozen=True)
class Case:
    """A program with inputs [steps, 1, size] for it.

    spiking: every population spikes. learning: some plastic weight or tag changes.
    """

    seed: int
    program: Program
    inputs: dict[str, IntData]
    spiking: bool
    learning: bool

    @property
    def alive(self) -> bool:
        return self.spiking and (self.learning or not self.program.plastic)


def random_case(seed: int, plastic: bool | None = None, steps: int = STEPS) -> Case:
    """The case of a seed; the same seed gives the same case. After many dead ones it may not be alive.

    plastic: with plastic projections or without; None: two seeds of three have them.
    """
    wanted = seed % 3 != 0 if plastic is None else plastic
    for attempt in range(ATTEMPTS):
        draft = _Draft(np.random.default_rng([seed, attempt, wanted]), wanted, steps)
        case = _case(seed, draft.program(f"case-{seed}"), draft.inputs)
        if case is not None and (case.alive or attempt == ATTEMPTS - 1):
            return case
    raise RunError(f"seed {seed}: {ATTEMPTS} programs in a row exceed 24-bit payloads: use another seed")


def _case(seed: int, program: Program, inputs: dict[str, IntData]) -> Case | None:
    """The case of a program; None if it sends what no chip can."""
    emulator = Emulator(program)
    try:
        _, recording = emulator.run(emulator.initial_state(1), inputs)
    except RunError:
        return None
    synapses = [values for (_, name), values in recording.probes.items() if name in SYNAPTIC]
    return Case(
        seed,
        program,
        inputs,
        spiking=all(recording[part.name, "spikes"].any() for part in program.populations),
        learning=any((values != values[0]).any() for values in synapses),
    )


class _Draft:
    """Parts of a random program, drawn in order."""

    def __init__(self, random: np.random.Generator, plastic: bool, steps: int) -> None:
        self.random = random
        self.axons = [InputAxons(f"in{n}", int(random.integers(1, 8))) for n in range(random.integers(1, 4))]
        self.inputs = {part.name: self._spikes(steps, part.size) for part in self.axons}
        self.populations = [self._population(f"p{n}") for n in range(random.integers(2, 6))]
        self.sizes = {part.name: part.size for part in self.axons}
        self.sizes |= {part.name: part.size for part in self.populations}
        self.relays = {part.name for part in self.populations if part.kind == "relay"}
        self.projections: list[Projection] = []
        for number, part in enumerate(self.populations):
            # every population is driven by what comes before it, and others are wired at random
            before = [*self.inputs, *(other.name for other in self.populations[:number])]
            self._project(self._pick(*before), part.name)
        for _ in range(random.integers(0, 5)):
            self._project(self._pick(*self.sizes), self._pick(*self.populations).name)
        self.plastic = [self._plastic(f"m{n}") for n in range(random.integers(1, 3) if plastic else 0)]

    def program(self, name: str) -> Program:
        probes = [
            Probe(part.name, variable)
            for part in self.populations
            for variable in (("spikes", "u", "v") if part.kind == "lif" else ("spikes",))
        ]
        for part in self.plastic:
            probes += [Probe(part.name, trace) for trace in ("weights", "x1", "x2", "y1", "y2", "y3")]
            probes += [Probe(part.name, tag) for tag in ("tag_1", "tag_2") if tag in part.rule.series]
        return Program(
            name,
            tuple(self.axons),
            tuple(self.populations),
            tuple(self.projections),
            tuple(self.plastic),
            tuple(probes),
        )

    def _pick(self, *choices: Any) -> Any:
        return choices[self.random.integers(len(choices))]

    def _chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def _spikes(self, steps: int, size: int) -> IntData:
        spikes = self.random.random((steps, 1, size)) < self._pick(0.05, 0.2, 0.5)
        high = self._pick(1, 1, 16, 255)
        payload = self.random.integers(1, high + 1, spikes.shape)
        if self._chance(0.1):
            payload = -payload
        sent: IntData = (spikes * payload).astype(np.int32)
        return sent

    def _population(self, name: str) -> Population:
        size = int(self.random.integers(1, 8))
        if self._chance(0.3):
            return Population(name, size, kind="relay", vth=int(self._pick(0, 0, 5, 300)))
        bias: Any = self._pick(
            0, 0, self.random.integers(-4096, 4096, size), int(self.random.integers(0, 4096))
        )
        interval = int(self._pick(0, 0, 3, 8, 1))
        return Population(
            name,
            size,
            vth=int(self._pick(0, 10, 200, 1000, 131071, self.random.integers(0, 5000))),
            du=int(self._pick(-1, 0, 4095, 4095, self.random.integers(0, 4096))),
            dv=int(self._pick(0, 4096, self.random.integers(0, 4096))),
            bias_mant=bias,
            bias_exp=int(self.random.integers(0, 8)),
            reset_interval=interval,
            reset_offset=int(self.random.integers(0, 20)) if interval else 0,
        )

    def _weights(self, mode: SignMode, target: str, source: str) -> npt.NDArray[np.int64]:
        shape = (self.sizes[target], self.sizes[source])
        low, high = WEIGHT_LIMITS[mode]
        present = self.random.random(shape) < self._pick(0.3, 0.8)
        return np.where(present, self.random.integers(low, high + 1, shape), 0)

    def _project(self, source: str, target: str) -> None:
        mode, storage = (
            self._pick("mixed", "excitatory", "excitatory", "inhibitory"),
            self._pick("dense", "sparse"),
        )
        weights = self._weights(mode, target, source)
        single = int(self.random.integers(0, 8))
        made = partial(
            Projection,
            f"d{len(self.projections)}",
            source,
            target,
            weights,
            weight_exp=int(self.random.integers(-8, 8)),
            num_weight_bits=int(self._pick(8, 8, 8, 4, 1)),
            sign_mode=mode,
            num_message_bits=int(self._pick(8, 16, 24) if source in self.relays else self._pick(0, 0, 8)),
            delays=self._pick(0, 0, single, self.random.integers(0, 8, weights.shape)),
        )
        try:
            self.projections.append(made(storage=storage))
        except ProgramError:  # payloads too wide for a dense one with delays
            self.projections.append(made(storage="sparse"))

    def _plastic(self, name: str) -> PlasticProjection:
        graded: Graded = self._pick("none", "none", *GRADED_MODES)
        source, target = self._pick(*self.sizes), self._pick(*self.populations).name
        mode: SignMode = self._pick("mixed", "excitatory", "excitatory", "inhibitory")
        carries = graded != "none" or source in self.relays
        thirds = ("", "", "")
        if self._chance(0.3):
            fitting = [part.name for part in self.populations if part.size == self.sizes[target]]
            thirds = (self._pick(*fitting), self._pick("", *fitting), self._pick("", *fitting))
        return PlasticProjection(
            name,
            source,
            target,
            self._weights(mode, target, source),
            rule=self._rule(graded, any(thirds)),
            seed=int(self.random.integers(0, 1000)),
            weight_exp=int(self.random.integers(-4, 5)),
            num_weight_bits=int(self._pick(8, 8, 5)),
            sign_mode=mode,
            num_message_bits=8 if carries else int(self._pick(0, 8)),
            graded=graded,
            third_factors=thirds,
        )

    def _rule(self, graded: Graded, three_factor: bool) -> ChipRule:
        while True:
            decimation = int(self.random.integers(0, 3))
            texts: dict[str, Any] = {"dw": self._sum(decimation)}
            if self._chance(0.3):
                texts["dw"] = self._pick(*RULES)
            if self._chance(0.25):
                texts["dt"] = self._sum(decimation)
                texts["dw"] = self._pick(texts["dw"], f"2^-2*u{decimation}*t*y2", "")
            if self._chance(0.1):
                texts["dd"] = self._sum(decimation)
            settings: dict[str, Any] = {}
            for trace in ("x1", "x2") if three_factor else ("x1", "x2", "y1", "y2", "y3"):
                settings[f"{trace}_impulse"] = int(self._pick(0, 1, 16, 64, 127))
                settings[f"{trace}_tau"] = int(self._pick(0, 1, 2, 5, 20, 100, 65535))
            if graded != "none":
                settings["x1_impulse"], settings["x1_tau"] = 0, max(1, settings["x1_tau"])
            try:
                return ChipRule(**texts, **settings, t_epoch=int(self._pick(1, 1, 1, 2, 3, 5, 16)))
            except RuleError:
                # such as a mantissa that two literals make too large: draw again
                continue

    def _sum(self, decimation: int) -> str:
        text = str(self._pick("", "-")) + self._product(decimation)
        for _ in range(self.random.integers(0, 3)):
            text += self._pick(" + ", " - ") + self._product(decimation)
        return text

    def _product(self, decimation: int) -> str:
        small, exponent = self.random.integers(1, 8), self.random.integers(-7, 3)
        literal: str = self._pick("", f"{small}*", f"2^{exponent}*", f"{small}*2^{exponent}*")
        dependency = self._pick("x0", "y0", "x0", "y0", f"u{decimation}")
        factors = [self._pick(*FACTORS) for _ in range(self._pick(0, 1, 2, 3, 3, 12))]
        return literal + "*".join([dependency, *factors])
