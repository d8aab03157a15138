"""Every experiment runs from end to end on little data, and leaves what it promises."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest
import torch

from experiments import demo, growth, records, rules, stages
from experiments.bench.__main__ import bench
from experiments.bench.epoch import joint_epoch, tasks_in
from experiments.bench.step import Workload
from spmn import kernels, level_kernels, projection_kernels, settings
from spmn.datasets.babi import TASKS, write
from spmn.datasets.generator import generate
from spmn.neurons import lif_reference


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


@pytest.mark.usefixtures("little")
def test_bench(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    bench(
        tasks="1",
        data=None,
        parts="step,layers",
        count=1,
        rounds=1,
        threads=threads,
        out=tmp_path / "bench.json",
    )
    record = json.loads((tmp_path / "bench.json").read_text())
    rows = {row["what"]: row for row in record["rows"]}
    assert rows["task 1: ours"]["over ours"] == 1
    assert rows["task 1: its matrix products that are left"]["ms"] < rows["task 1: plain torch"]["ms"]
    assert rows["task 1: plain torch"]["events per s"] > 0
    assert {"task 1: snntorch cells", "task 1: neurons and plasticity in ours"} <= set(rows)
    assert record["facts"]["threads"] == threads


def test_other_neurons_take_the_place_of_ours() -> None:
    """A kernel of ours that is left in would make all rows alike."""
    work = Workload(generate(1, 20, 0), 1)
    ours = [kernels.lif_forward, kernels.scan_forward, level_kernels.forward, projection_kernels.project]
    with ExitStack() as patches:
        for kernel in ours:
            module = sys.modules[kernel.__module__]
            patches.enter_context(mock.patch.object(module, kernel.__name__, side_effect=AssertionError))
        with pytest.raises(AssertionError):
            work.step()
        work.step(lif_reference)


def test_joint_epoch(tmp_path: Path) -> None:
    for task in (1, 15):
        write(tmp_path / f"qa{task}_{TASKS[task]}_train.txt", generate(task, 60, 0))
    assert tasks_in(tmp_path) == (1, 15)
    (epoch, prepared), profile = joint_epoch(tmp_path)
    assert epoch["ms"] > prepared["ms"]
    assert epoch["what"].startswith("joint epoch, 2 tasks")
    assert any(entry["operator"] == "spmn::level_backward" for entry in profile)


def test_growth() -> None:
    point = growth.measure(growth.Case(events=40, batch=2, keys=8, depth=2))
    assert point["seconds"] > 0
    assert point["mebibytes"] >= 0
    rows = [{"value": n, "seconds": n**1.5, "mebibytes": 1.0} for n in (10, 20, 40, 80)]
    assert growth.exponent(rows) == pytest.approx(1.5)


@pytest.mark.usefixtures("little")
def test_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "stages.json"
    stages.main(out=tmp_path, tasks="1", seeds="0", data=None, steps=1, epochs=1, threads=1, results=results)
    found = records.read(stages.Start, results)
    assert [r.start for r in found] == ["scratch", "similarity", "timeline"]
    assert all(0 <= r.error <= 1 and r.curve == (r.error,) for r in found)
    assert [r.first is None for r in found] == [True, False, False]
    warm = json.loads((tmp_path / "timeline-task1-seed0" / "run.json").read_text())
    assert warm["training"]["warm_start"] == str(tmp_path / "timeline-seed0")
    for name in ("similarity", "timeline"):
        assert json.loads((tmp_path / f"{name}-seed0" / "run.json").read_text())["stage"] == name
    assert "first epoch below" in capsys.readouterr().out


def test_the_table_of_starts_has_seeds_side_by_side() -> None:
    def one(begin: str, seed: int, *curve: float, first: float | None = None) -> stages.Start:
        return stages.Start(begin, 2, seed, len(curve), min(curve), curve, first)

    found = [
        one("scratch", 0, 0.5, 0.09, 0.1),
        one("scratch", 1, 0.4, 0.3, 0.2),
        one("timeline", 0, 0.05, 0.04, 0.06, first=0.876),
    ]
    assert stages.table(found).splitlines()[2:] == [
        "| 2 | scratch |  | 9.0 %, 20.0 % | 2, never | 3 |",
        "| 2 | timeline | 0.88 | 4.0 % | 1 | 3 |",
    ]
