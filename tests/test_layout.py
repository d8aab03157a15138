"""The house: who may import whom, and what stands at the top."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPIKE_GENERATORS = ROOT / "spmn" / "senses" / "codes.py"
"""The one place outside the tests where another library of spiking networks is at work."""
FORBIDDEN = {
    "hardware": {"torch", "spmn", "experiments", "snntorch", "norse"},
    "spmn": {"experiments", "snntorch", "norse"},
    "experiments": set(),
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_one_way(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()
    for path in (ROOT / package).rglob("*.py"):
        allowed = {"snntorch"} if path == SPIKE_GENERATORS else set()
        assert not imported(path) & FORBIDDEN[package] - allowed, path


def test_python_folders_at_the_top() -> None:
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "*.py"], capture_output=True, text=True, check=False
    )
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    assert {line.split("/")[0] for line in tracked.stdout.splitlines()} <= {
        "spmn",
        "hardware",
        "experiments",
        "tests",
    }


def test_public_names_exist() -> None:
    import hardware
    import spmn

    for module in (spmn, hardware):
        assert list(module.__all__) == sorted(
            module.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n)
        )
        for name in module.__all__:
            assert hasattr(module, name)


def test_hardware_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import hardware.emulator, hardware.files, hardware.schedule"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
