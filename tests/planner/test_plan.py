from __future__ import annotations

from dataclasses import fields, replace

import msgspec
import pytest

from edge_wm.bundle.manifest import ActionSpec, PlannerDefaults
from edge_wm.errors import BadInput
from edge_wm.planner.plan import ActionLimits, PlannerConfig
from tests.tiny_model import manifest

NOT_IN_A_BUNDLE = {"primitives"}
DRIVES = ActionSpec(("v", "w"), ("m/s", "rad/s"), (-0.15, -2.5), (0.5, 2.5))
PLAIN = PlannerDefaults(
    iterations=3,
    elites=8,
    keep_fraction=0.3,
    noise_beta=2.0,
    initial_std=(0.2, 1.0),
    momentum=0.1,
    costs=dict(PlannerConfig().weights),
)
OTHER = PlannerDefaults(
    iterations=5,
    elites=6,
    keep_fraction=0.5,
    noise_beta=1.0,
    initial_std=(0.3, 0.7),
    momentum=0.2,
    costs={"value": 2.0},
    std_floor=0.2,
    policy_copies=3,
    comfort_m=0.4,
    touch_m=0.2,
    touch_discount=0.9,
    reward_discount=0.8,
    temperature=0.5,
    method="mppi",
)
"""Every number differs from the planner's own."""


def settings(planner: PlannerDefaults, action: ActionSpec = DRIVES) -> PlannerConfig:
    return PlannerConfig.from_manifest(msgspec.structs.replace(manifest(), planner=planner, action=action))


def not_carried(config: PlannerConfig) -> set[str]:
    """Names of the settings that still are the planner's own."""
    own = PlannerConfig()
    return {item.name for item in fields(own) if getattr(config, item.name) == getattr(own, item.name)}


def test_a_bundle_carries_every_setting_of_the_planner():
    config = settings(OTHER)
    assert not_carried(config) == NOT_IN_A_BUNDLE
    assert dict(config.weights) == OTHER.costs
    for name in PlannerDefaults.__struct_fields__:
        if name != "costs":
            assert getattr(config, name) == getattr(OTHER, name), name


@pytest.mark.parametrize("name", sorted({item.name for item in fields(PlannerConfig)} - NOT_IN_A_BUNDLE))
def test_a_setting_that_is_left_behind_would_be_noticed(name):
    forgetful = replace(settings(OTHER), **{name: getattr(PlannerConfig(), name)})
    assert not_carried(forgetful) == {*NOT_IN_A_BUNDLE, name}


def test_what_a_bundle_leaves_out_is_as_the_planner_has_it():
    assert settings(PLAIN) == PlannerConfig()
    assert settings(msgspec.structs.replace(PLAIN, touch_discount=0.5)) != PlannerConfig()


def test_ways_out_that_are_commands_are_not_tried_with_other_actions():
    jump = ActionSpec(("jump", "w"), ("m", "rad/s"), (-1.0, -1.0), (1.0, 1.0))
    assert settings(PLAIN).primitives
    assert not settings(PLAIN, jump).primitives


def test_impossible_settings_are_named():
    with pytest.raises(BadInput, match="momentum"):
        replace(PlannerConfig(), momentum=1.0)
    with pytest.raises(BadInput, match="limits"):
        ActionLimits((0.0,), (0.0,))
