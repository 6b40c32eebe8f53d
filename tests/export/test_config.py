"""Configuration files: the ones in the repository load, and what is wrong with another is named."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from edge_wm.errors import BadInput
from edge_wm.sim.generator import KINDS
from export.__main__ import CONFIGS
from export.config import Kind, load_config
from export.shipped import FIRST_SEEDS

SHIPPED = sorted(CONFIGS.glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_configuration_in_the_repository_loads(path: Path) -> None:
    config = load_config(path)
    assert config.teacher.sees_depth and not config.student.sees_depth
    assert config.student.horizon * config.student.step_s == pytest.approx(2.4)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_collected_seeds_do_not_meet_each_other_or_calibration(path: Path) -> None:
    config = load_config(path)
    ranges = [
        (part.first_seed, part.first_seed + part.episodes) for part in (config.collect, config.on_policy)
    ]
    (_, base_end), (policy_start, policy_end) = ranges
    assert base_end <= policy_start
    assert policy_end <= FIRST_SEEDS["calibration"]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('version = "0.0.1"', "", "`version`"),
        ("[collect]", "surprise = 1\n[collect]", "`surprise`"),
        ("movers = 0.12", "", "`movers`"),
        ("steps = 4", 'steps = "four"', r": train_teacher\.steps: expected `int`"),
        ("camera_width = 16", "camera_width = 1.5", r": student\.camera_width: expected `int`"),
        ("[collect]", "[collect", r"line \d"),
        ("rooms = 0.3,", "rooms = 0.9,", r": collect: kinds: the shares sum to 1\.6, not to 1"),
        ("rooms = 0.3,", "castles = 0.3,", r": collect\.kinds"),
        ("rooms = 0.3,", "rooms = -0.3,", r": collect\.kinds"),
        ("episodes = 20", "episodes = 0", r": collect\.episodes: expected `int` >= 1"),
        ("episodes = 20", "episodes = -5", r": collect\.episodes: expected `int` >= 1"),
        ("ticks = 60", "ticks = 0", r": collect\.ticks: expected `int` >= 1"),
        ("movers = 0.12", "movers = nan", r": collect\.movers: expected a finite number"),
        ("movers = 0.12", "movers = 1.5", r": collect\.movers: expected `float` <= 1"),
        ("first_seed = 0", "first_seed = -1", r": collect\.first_seed: expected `int` >= 0"),
        ('kinds = ["rooms", ', 'kinds = ["castles", ', r": evaluate\.kinds\[0\]"),
    ],
)
def test_an_error_names_the_file_and_the_field(old: str, new: str, named: str, tmp_path: Path) -> None:
    text = (CONFIGS / "quick.toml").read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text)
    load_config(path)  # the control: it loads before it is spoiled
    path.write_text(text.replace(old, new))
    with pytest.raises(BadInput, match=named) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"], ids=["no file", "not text"])
def test_what_cannot_be_read_is_refused_in_words(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=r"mine\.toml"):
        load_config(path)


def test_the_kinds_are_those_of_the_generator() -> None:
    assert get_args(Kind) == KINDS
