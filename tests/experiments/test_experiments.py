"""Every experiment runs from end to end on little data, and leaves what it promises."""

import json
from pathlib import Path

import pytest

from experiments import demo, rules
from spmn import settings


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """All presets train on 100 generated questions."""
    for name, preset in settings.PRESETS.items():
        training = settings.Training(stories=100, epochs=1, events_per_batch=200)
        monkeypatch.setitem(settings.PRESETS, name, settings.Preset(preset.network, training))


@pytest.mark.usefixtures("little")
def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "EPOCHS", 1)
    monkeypatch.setattr(demo, "QUESTIONS", 10)
    assert not demo.demo(tmp_path / "run")  # 100 questions teach nothing, and the demo says so
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"program.h5", "curves.png", "raster.png", "memory.png", "recall.png", "stdp.png"} <= left


@pytest.mark.usefixtures("little")
def test_rules(tmp_path: Path) -> None:
    rules.compare(tasks="1", epochs=1, out=tmp_path)
    rows = json.loads((tmp_path / "rules.json").read_text())
    assert [row["rule"] for row in rows] == ["two-factor", "error-driven", "pair-stdp"]
    assert all(0 <= row["error"] <= 1 for row in rows)
