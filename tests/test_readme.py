"""What the README shows works as printed."""

import re
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from spmn.cli import app

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_plastic_layer_example_runs() -> None:
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "PlasticLayer" in block]
    names: dict[str, object] = {}
    exec(code, names)
    state = names["state"]
    assert state.weights.shape == (32, 100, 10)  # type: ignore[attr-defined]
    assert not (state.weights == 0.5).all()  # type: ignore[attr-defined]


def test_senses_example_stores_the_same_in_integers() -> None:
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "calibrate" in block]
    names: dict[str, Any] = {}
    exec(code, names)
    memory, integers = names["memory"], names["integers"]
    assert memory.shape == integers.shape == (1, 1, 4, 32, 32)
    assert (memory > 0).any()
    # keys of an untrained network fire at their threshold if at all, where rounding decides
    assert ((memory - integers).abs() < 0.1).float().mean() > 0.8


def test_reward_example_learns_only_where_it_is_rewarded() -> None:
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "critic" in block]
    names: dict[str, Any] = {}
    exec(code, names)
    weights = names["recording"]["m", "weights"][-1].mean(axis=(1, 2))
    assert (weights[:4] == 60).all()
    assert (weights[4:] > 65).all()


def test_every_command_shown_exists_with_its_options() -> None:
    shown = re.findall(r"^ +spmn ([^#\n]+)", README, re.M)
    assert len(shown) >= 9
    for line in shown:
        words = line.split()
        path = [words[0]] if words[0] not in ("train", "data", "sweep") else words[:2]
        done = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
        assert done.exit_code == 0, line
        for option in (word for word in words if word.startswith("--")):
            assert option in re.sub(r"\x1b\[[0-9;]*m", "", done.output), (line, option)
