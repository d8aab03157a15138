"""What the shipped networks lose with fewer bits of plastic memory, and what a question costs them."""
# ruff: noqa: E501 (table rows)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.babi.results import set_aside
from spmn import pretrained
from spmn.data import limited
from spmn.export import export
from spmn.report import score
from spmn.runs import open_run

RESULTS = Path(__file__).with_name("bits.json")
BITS = (8, 7, 6, 5, 4, 3, 2)


@dataclass(frozen=True)
class Bits:
    """A shipped network on the emulator, with so many bits of M, on validation stories of one task."""

    network: str  # the set that it is in: "babi" or "babi-joint"
    task: int
    bits: int
    questions: int
    error: float  # share of wrong answers
    torch: float  # of the float network on the same questions
    low: float  # microjoules per question on Loihi 1, estimated: all membrane updates inactive
    high: float  # all active

    @property
    def key(self) -> tuple[str, int, int]:
        """What tells records apart."""
        return self.network, self.task, -self.bits


def measure(network: str, data: str, limit: int, wanted: Sequence[int] | None = None) -> Iterator[Bits]:
    """Score every network of a set, or those of some tasks, with every number of bits, on up to so many
    questions per task."""
    for folder, tasks in pretrained.networks(network, wanted).items():
        run = open_run(folder)
        trained, validation = run.trained(), set_aside(run, data)
        programs = {bits: export(trained, memory_bits=bits) for bits in BITS}
        for task in tasks:
            stories = limited([s for s in validation if s.task == task], limit)
            for bits, program in programs.items():
                report = score(trained, stories, "valid", "emulator", program)
                yield Bits(
                    network=network,
                    task=task,
                    bits=bits,
                    questions=report.questions[task],
                    error=report.errors[task],
                    torch=report.torch_errors[task],
                    low=round(report.cost["low_energy"], 3),
                    high=round(report.cost["high_energy"], 3),
                )


def table(found: Sequence[Bits], network: str) -> str:
    """A row per task, a column per number of bits."""
    of = {(r.task, r.bits): r for r in found if r.network == network}
    columns = sorted({bits for _, bits in of}, reverse=True)
    rows = [
        f"| task | questions | float (torch) | {' | '.join(f'{bits} bits' for bits in columns)} | microjoules per question |",
        "|---" * (4 + len(columns)) + "|",
    ]
    for task in sorted({task for task, _ in of}):
        some = [of[task, bits] for bits in columns]
        errors = " | ".join(f"{100 * r.error:.1f}" for r in some)
        first = some[0]
        rows.append(
            f"| {task} | {first.questions} | {100 * first.torch:.1f} | {errors} | {first.low:,.1f} to {first.high:,.1f} |"
        )
    means = [
        100 * sum(r.error for (_, b), r in of.items() if b == bits) / (len(of) / len(columns))
        for bits in columns
    ]
    rows.append(f"| **mean** | | | {' | '.join(f'{m:.1f}' for m in means)} | |")
    return "\n".join(rows)
