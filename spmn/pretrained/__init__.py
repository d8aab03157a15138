"""Networks that come with this package, trained and ready to run.

    spmn/pretrained/SET/README.md                   model card: data, recipe, seeds, errors, limits
    spmn/pretrained/SET/taskNN/run.json             what was trained, and how
    spmn/pretrained/SET/taskNN/network.safetensors  weights in half precision: what "float" figures are about
    spmn/pretrained/SET/taskNN/program.h5           the same network as integers for the chip
    spmn/pretrained/SET/taskNN/set_aside.json       fingerprints of stories that were never told in training

A set that is one network for all its tasks has these files in its own folder instead. A network's folder is a
run folder like any other: "babi/16" or "babi-joint" stands for it wherever a command takes one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from spmn.errors import SettingsError

HERE = Path(__file__).parent


def sets() -> list[str]:
    """Names of the sets of networks."""
    return sorted(path.name for path in HERE.iterdir() if (path / "README.md").exists())


def names() -> list[str]:
    """What stands for the networks of each set, such as "babi/1" to "babi/20"."""
    return [
        name if _joint(name) else f"{name}/{tasks(name)[0]} to {name}/{tasks(name)[-1]}" for name in sets()
    ]


def tasks(name: str) -> list[int]:
    """Tasks that a set has a network for. Raises SettingsError naming the sets that exist."""
    if name not in sets():
        known = f"choose one of {', '.join(sets())}" if sets() else "this version comes without any"
        raise SettingsError(f"there are no pretrained networks {name!r}; {known}")
    if _joint(name):
        told: list[int] = json.loads((HERE / name / "run.json").read_text())["source"]["tasks"]
        return told
    return sorted(int(path.name.removeprefix("task")) for path in (HERE / name).glob("task[0-9]*"))


def _joint(name: str) -> bool:
    """Whether a set is one network for all its tasks."""
    return (HERE / name / "run.json").exists()


def folder(name: str, task: int) -> Path:
    """The run folder of a set's network. Raises SettingsError where there is none."""
    if task not in tasks(name):
        raise SettingsError(
            f"pretrained {name!r} has no network for task {task}; it has {', '.join(map(str, tasks(name)))}"
        )
    return HERE / name if _joint(name) else HERE / name / f"task{task:02}"


def networks(name: str, wanted: Sequence[int] | None = None) -> dict[Path, list[int]]:
    """The run folders of a set's networks, and which of the tasks `wanted`, if not all, each of them is for.

    Raises SettingsError as `folder` does.
    """
    found: dict[Path, list[int]] = {}
    for task in wanted or tasks(name):
        found.setdefault(folder(name, task), []).append(task)
    return found


def set_aside(folder: Path, task: int) -> frozenset[str] | None:
    """Fingerprints (`spmn.data.fingerprint`) of the only stories of a task that a network was never told.

    None where a generated story is none of its training stories anyway, because there are too many.
    """
    path = folder / "set_aside.json"
    held: dict[str, list[str]] = json.loads(path.read_text()) if path.exists() else {}
    return frozenset(held[str(task)]) if str(task) in held else None


def located(run: str | Path) -> Path:
    """A run folder by its path, or by a name such as "babi/16" or "babi-joint" where no such path exists.

    Raises SettingsError for a task that the set has no network for.
    """
    name, slash, task = str(run).partition("/")
    if not slash and name in sets() and _joint(name) and not Path(run).exists():
        return HERE / name
    if slash and task.isdecimal() and name in sets() and not Path(run).exists():
        return folder(name, int(task))
    return Path(run)
