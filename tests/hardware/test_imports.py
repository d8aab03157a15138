from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_hardware_needs_no_torch_and_no_spmn():
    code = (
        "import sys\n"
        "for name in ('torch', 'spmn', 'experiments', 'lava'):\n"
        "    sys.modules[name] = None\n"
        "import hardware\n"
        "print(len(hardware.__all__))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_public_names_exist():
    import hardware

    assert sorted(set(hardware.__all__)) == sorted(hardware.__all__)
    assert all(hasattr(hardware, name) for name in hardware.__all__)
