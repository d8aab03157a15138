"""RESULTS.md, its pictures, the model cards and the README's table, all from what was measured (JSON).

python -m experiments.results
"""
# ruff: noqa: E501 (sentences)

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import typer
from rich.console import Console

from experiments import records, stages
from experiments.babi import bits, results
from experiments.babi import writing as babi
from experiments.babi.bits import Bits
from experiments.babi.results import Result, joint
from experiments.baselines import harness, lengths, likeness
from experiments.baselines import writing as others
from experiments.baselines.harness import Result as Other
from experiments.baselines.lengths import Length
from experiments.baselines.likeness import Likeness
from experiments.stages import Start
from hardware.atomic import atomic

HERE = Path(__file__).parent
PAGE = HERE / "RESULTS.md"
README = HERE.parent / "README.md"
STARTS = """\
Do memory levels that a first stage has trained help bAbI? Default network, no recipe; levels from SPMN's stage 0 (our own
sentences, Pearson's correlation with the embedding reached) or stage 1 (streams of 20 events, average precision reached) against
random ones; validation error of the best epoch, seeds side by side. Made by `python -m experiments.stages`."""


class Measured(NamedTuple):
    """All records."""

    babi: list[Result]
    narrow: list[Bits]
    others: list[Other]
    alike: list[Likeness]
    long: list[Length]
    starts: list[Start]


def measured() -> Measured:
    """What the JSON files hold."""
    return Measured(
        records.read(Result, results.RESULTS),
        records.read(Bits, bits.RESULTS),
        records.read(Other, harness.RESULTS),
        records.read(Likeness, likeness.RESULTS),
        records.read(Length, lengths.RESULTS),
        records.read(Start, stages.RESULTS),
    )


def page(found: Measured) -> str:
    """RESULTS.md."""
    parts = [
        "# Results",
        babi.MADE,
        "## bAbI, one network per task",
        babi.table(found.babi),
        babi.NOTES,
        babi.STAR,
        *babi.joint_parts(found.babi),
        *others.comparison(found.others),
        *others.longer(found.long),
        *babi.memory(found.narrow),
        *warm_starts(found.starts),
        *others.similarity(found.alike),
        *babi.every_run(found.babi),
    ]
    return "\n\n".join(parts) + "\n"


def warm_starts(found: list[Start]) -> list[str]:
    """The part on what the first stages are worth for the second, if it was measured."""
    return ["## Warm starts from the first stages", STARTS, stages.table(found)] if found else []


def texts(found: Measured) -> dict[Path, str]:
    """Everything that is text, by where it goes."""
    readme = between(README.read_text(), "babi", babi.section(found.babi))
    readme = between(readme, "joint", babi.joint_runs(found.babi))
    return {
        PAGE: page(found),
        babi.CARD: babi.card(found.babi),
        **({babi.JOINT_CARD: babi.joint_card(found.babi)} if joint(found.babi) else {}),
        README: between(readme, "stages", stages.table(found.starts)),
    }


def between(text: str, name: str, part: str) -> str:
    """The text with another part between the two marks of this name."""
    begin, end = f"<!-- {name}: made by python -m experiments.results -->", f"<!-- {name}: end -->"
    before, rest = text.split(begin)
    return f"{before}{begin}\n{part}\n{end}{rest.split(end)[1]}"


def main() -> None:
    """Write all of it."""
    found, console = measured(), Console()
    pictures = babi.pictures(found.babi)
    if found.long:
        pictures.append(lengths.picture(found.long, HERE / "baselines" / "lengths.png"))
    written = texts(found)
    for path, text in written.items():
        with atomic(path) as temporary:
            temporary.write_text(text)
    for path in (*pictures, *written):
        console.print(f"wrote {path}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
