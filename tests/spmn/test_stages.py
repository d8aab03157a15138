"""Training of a stage: it learns, resumes bit-equal, and loses nothing."""

import json
import math
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spmn.errors import CheckpointError, SettingsError, Stopped
from spmn.runs import load_tensors, read_metrics
from spmn.stages import Stage, Steps, load_best, read_record, train_stage


class Line(Stage):
    """Finds the slope 3 of a noisy line."""

    name = "line"
    decides = "closeness"

    def __init__(self, broken_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.network = nn.Linear(1, 1)
        self.steps, self.broken_at = 0, broken_at

    @property
    def record(self) -> dict[str, Any]:
        return {"slope": 3}

    def loss(self, random: np.random.Generator) -> Tensor:
        self.steps += 1
        x = torch.from_numpy(random.random((16, 1)).astype(np.float32))
        noise = 0.01 * torch.randn(16, 1)
        factor = float("nan") if self.steps == self.broken_at else 1.0
        return factor * nn.functional.mse_loss(self.network(x), 3 * x + noise)

    def validate(self) -> dict[str, float]:
        return {"closeness": -abs(float(self.network(torch.ones(1)).detach()) - 3)}


HOW = Steps(steps=60, learning_rate=0.3, validate_every=20)


def weights(folder: Path) -> dict[str, Tensor]:
    return load_tensors(folder / "checkpoint.safetensors")[0]


def test_it_learns_and_keeps_the_best(tmp_path: Path) -> None:
    train_stage(Line(), HOW, tmp_path)
    lines = read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [0, 20, 40, 60]
    best = max(line["closeness"] for line in lines)
    assert best > -0.2 > lines[0]["closeness"]
    kept = Line()
    load_best(kept.network, tmp_path)
    assert kept.validate()["closeness"] == best


def test_a_worse_step_is_not_kept(tmp_path: Path) -> None:
    class Worse(Line):
        def validate(self) -> dict[str, float]:
            return {"closeness": -float(self.steps)}

    train_stage(Worse(), HOW, tmp_path / "whole")
    assert load_tensors(tmp_path / "whole" / "network.safetensors")[1] == {"step": 0}

    def fall(kind: str, values: Mapping[str, float]) -> None:
        if kind == "step":
            raise InterruptedError  # before any checkpoint

    with pytest.raises(InterruptedError):
        train_stage(Worse(), HOW, tmp_path / "killed", report=fall)
    train_stage(Worse(), HOW, tmp_path / "killed")
    assert load_tensors(tmp_path / "killed" / "network.safetensors")[1] == {"step": 0}


def test_a_stopped_training_goes_on_bit_equal(tmp_path: Path) -> None:
    def stop(kind: str, values: Mapping[str, float]) -> None:
        if kind == "step" and values["step"] == 33:
            os.kill(os.getpid(), signal.SIGTERM)

    train_stage(Line(), HOW, tmp_path / "whole")
    with pytest.raises(Stopped, match="after step 33"):
        train_stage(Line(), HOW, tmp_path / "parts", report=stop)
    train_stage(Line(), HOW, tmp_path / "parts")
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "parts")[name]), name
    strip = [{k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(tmp_path / "whole")]
    assert strip == [
        {k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(tmp_path / "parts")
    ]


def test_a_finished_training_is_left_alone(tmp_path: Path) -> None:
    train_stage(Line(), HOW, tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    again = Line()
    train_stage(again, HOW, tmp_path)
    assert again.steps == 0
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_a_loss_that_is_not_finite_stops_before_it_spoils_anything(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="the loss is nan at step 29; lower learning_rate"):
        train_stage(Line(broken_at=30), HOW, tmp_path)
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path).values())


def test_another_training_in_the_folder_is_refused(tmp_path: Path) -> None:
    train_stage(Line(), HOW, tmp_path)
    with pytest.raises(CheckpointError, match="its training differ"):
        train_stage(Line(), Steps(steps=61), tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"version": 1, "stage": "curve"}))
    with pytest.raises(CheckpointError, match="of stage 'curve'"):
        read_record(tmp_path, "line")


@pytest.mark.parametrize("left", [None, "", '{"step": 0, "closeness": -3}\n', '{"step": 0, "clo'])
def test_validations_that_are_lost_are_missed(tmp_path: Path, left: str | None) -> None:
    train_stage(Line(), HOW, tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    if left is not None:
        (tmp_path / "metrics.jsonl").write_text(left)
    with pytest.raises(CheckpointError, match=r"metrics.jsonl' (ends before step 60|is damaged)"):
        train_stage(Line(), HOW, tmp_path)


def test_no_thread_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="threads is 0; it must be at least 1"):
        train_stage(Line(), HOW, tmp_path / "run", threads=0)
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_kind_says_what_takes_it(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"version": 1, "vocabulary": {}}))
    with pytest.raises(CheckpointError, match=r"of stage 'babi', .*; spmn ask, evaluate"):
        read_record(tmp_path, "line")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', "[" * 100_000])
def test_a_folder_that_is_no_run(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(CheckpointError, match="no run of stage 'line'"):
        read_record(tmp_path, "line")


def test_nothing_validated_yet(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no validated step"):
        load_best(nn.Linear(1, 1), tmp_path)
    train_stage(Line(), HOW, tmp_path)
    with pytest.raises(CheckpointError, match="does not fit"):
        load_best(nn.Linear(2, 1), tmp_path)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"validate_every": 0}, "validate_every is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"gradient_norm": math.nan}, "gradient_norm is nan"),
        ({"steps": 2.5}, "steps is 2.5; it must be a whole number"),
        ({"warm_up": 1.0}, "warm_up is 1.0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_out_of_range(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Steps(**setting)
