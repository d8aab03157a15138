"""Settings can be changed by name, and nothing that is no setting is taken."""

import pytest

from spmn.errors import SettingsError
from spmn.settings import PRESETS, changed


def test_settings_are_changed_by_name() -> None:
    preset = changed(PRESETS["chained"], ["depth=2", "precision=bfloat16", "learning_rate=0.01", "depth=4"])
    assert preset.network.depth == 4
    assert preset.training.precision == "bfloat16"
    assert preset.training.learning_rate == 0.01
    assert preset.training.epochs == PRESETS["chained"].training.epochs


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("depht=2", "'depht=2' changes no setting"),
        ("depth", "NAME=VALUE"),
        ("depth=two", "depth is 'two'; it must be a whole number"),
        ("dv=x", "dv is 'x'; it must be a number"),
        ("depth=0", "depth is 0; it must be at least 1"),
        ("precision=int8", "precision is int8; it must be one of float32, bfloat16"),
    ],
)
def test_what_is_no_setting_is_refused(change: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        changed(PRESETS["default"], [change])
