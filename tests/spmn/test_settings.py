"""Settings can be changed by name, and nothing that is no setting is taken."""

from typing import Any

import pytest

from spmn.errors import SettingsError
from spmn.settings import PRESETS, RECIPES, Network, Preset, building, changed, preset, refuse


def test_settings_are_changed_by_name() -> None:
    preset = changed(PRESETS["pair-stdp"], ["depth=2", "precision=bfloat16", "learning_rate=0.01", "depth=4"])
    assert preset.network.depth == 4
    assert preset.training.precision == "bfloat16"
    assert preset.training.learning_rate == 0.01
    assert preset.training.epochs == PRESETS["pair-stdp"].training.epochs
    for text, value in (("true", True), ("False", False)):
        assert changed(PRESETS["joint"], [f"per_head={text}"]).network.per_head is value


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("depht=2", "'depht=2' changes no setting"),
        ("depth", "NAME=VALUE"),
        ("per_head=1", "per_head is '1'; it must be true or false"),
        ("depth=two", "depth is 'two'; it must be a whole number"),
        ("dv=x", "dv is 'x'; it must be a number"),
        ("depth=0", "depth is 0; it must be at least 1"),
        ("weight_scale=0", "weight_scale is 0.0; it must be above 0"),
        ("focus=1", "focus is 1.0; it must be from 0 to below 1"),
        ("cycle_decay=0", "cycle_decay is 0.0; it must be above 0 and up to 1"),
        ("insist=0.5", "insist is 0.5; it must be at least 1"),
        ("repeat=-1", "repeat is -1; it must be 0 or more"),
        ("steps=1000000000", "steps is 1000000000; it must be from 1 to 1000"),
        ("depth=100000", "depth is 100000; it must be from 1 to 100"),
        ("stories=1000000000000", "stories is 1000000000000; it must be at most 10,000,000"),
        ("chip_weights_from=1.5", "chip_weights_from is 1.5; it must be from 0 to 1"),
        ("precision=int8", "precision is int8; it must be one of float32, bfloat16"),
        ("learning_rate=inf", "learning_rate is inf; it must be above 0 and finite"),
        ("gradient_norm=-1", "gradient_norm is -1.0; it must be above 0 and finite"),
        ("weight_decay=-1", "weight_decay is -1.0; it must be 0 or more, and finite"),
        ("practice_loss=nan", "practice_loss is nan; it must be 0 or more, and finite"),
        ("clue_loss=inf", "clue_loss is inf; it must be 0 or more, and finite"),
        ("insist=inf", "insist is inf; it must be at least 1, and finite"),
        ("slope=inf", "slope is inf; it must be above 0 and finite"),
        ("stories=0", "stories is 0; it must be at least 1"),
        ("encoder=1000000000000", "encoder is 1000000000000; it must be at least 1, and below"),
        ("seed=-1", "seed is -1; it must be 0 or more"),
    ],
)
def test_what_is_no_setting_is_refused(change: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        changed(PRESETS["default"], [change])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"depth": 2.5}, "depth is 2.5; it must be a whole number"),
        ({"heads": True}, "heads is True; it must be a whole number"),
        ({"dv": "0.1"}, "dv is '0.1'; it must be a number"),
        ({"rule": None}, "rule is None; it must be a word"),
        ({"per_head": 1}, "per_head is 1; it must be true or false"),
    ],
)
def test_values_of_another_type_are_refused(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Network(**setting)
    assert Network(dv=1).dv == 1  # a whole number is a number


def test_a_network_that_cannot_be_built_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match=r"no network of depth=3.*\(no room\); make it smaller"):  # noqa: SIM117
        with building(Network()):
            raise RuntimeError("no room\nmore")


def test_options_that_were_given_are_refused() -> None:
    refuse("goes with a RUN", story=None)
    with pytest.raises(SettingsError, match="--memory-bits 0 goes with a RUN"):
        refuse("goes with a RUN", story=None, memory_bits=0)


def test_a_recipe_is_for_one_task() -> None:
    assert preset("default", (1, 2)) == preset("default") == Preset()
    recipe = preset("single", (2,))
    assert recipe == RECIPES["single"][2]
    assert recipe.training.warm_start == "babi/1"
    assert recipe.training.practice == 0.0  # of all tasks of the preset
    for tasks in ((1, 2), (), (21,)):
        with pytest.raises(SettingsError, match="one task at a time"):
            preset("single", tasks)
    with pytest.raises(SettingsError, match="choose one of default, error-driven, pair-stdp, joint, single"):
        preset("nonsense")


def test_every_recipe_names_a_task_and_settings_that_exist() -> None:
    for recipes in RECIPES.values():
        assert set(recipes) <= set(range(1, 21))
        for recipe in recipes.values():
            for _ in recipes:  # a chain of warm starts ends, and all of it has the same size
                if not recipe.training.warm_start:
                    break
                before = recipes[int(recipe.training.warm_start.removeprefix("babi/"))]
                assert before.network == recipe.network
                recipe = before
            assert not recipe.training.warm_start


def test_a_joint_preset_renames_each_task_as_its_recipe_does() -> None:
    assert RECIPES["single"][15].training.rename == ""
    names = {task: RECIPES["single"][task].training.rename for task in (2, 16)}
    assert preset("joint", (2, 15, 16)).training.rename == f"2: {names[2]}; 16: {names[16]}"
    assert preset("joint", (15,)).training.rename == ""
    assert preset("joint", (2,)).network == PRESETS["joint"].network
