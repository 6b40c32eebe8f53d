"""Video frames and stills: sizes, and that what is drawn lies where it is."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from edge_wm.record.palette import DRIVEN, PLAN
from edge_wm.sensors.observation import Observation

pytest.importorskip("PIL")
imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
pytest.importorskip("matplotlib")

from PIL import Image  # noqa: E402

from edge_wm.record.frame import CAMERA_BOX, FRAME_SIZE, FrameComposer  # noqa: E402
from edge_wm.record.imagined_panel import imagined_panel  # noqa: E402
from edge_wm.record.tick_record import GoalResult  # noqa: E402
from edge_wm.record.video import OUTCOME_S, SPEED_UP, Video, most_telling, save_still  # noqa: E402
from edge_wm.record.world_panel import WorldPanel, moved  # noqa: E402

REACHED = GoalResult("reached", reached=True, collision=False, time_s=1.2)
PANEL_SIZE = (320, 232)


def share_of(image, colour, tolerance=40) -> float:
    """The share of pixels near a colour."""
    away = np.abs(np.asarray(image, dtype=int) - colour).max(axis=-1)
    return float((away <= tolerance).mean())


def test_the_video_has_a_frame_a_tick_and_shows_each_outcome(tmp_path, make_drive, start):
    video = Video(tmp_path / "drive.mp4", tick_s=0.1)
    for number, ticks in ((1, 12), (2, 5)):
        video.add_goal(FrameComposer(start, make_drive(ticks, number), REACHED), ticks)
    video.close()
    frames = imageio_ffmpeg.read_frames(str(tmp_path / "drive.mp4"))
    about = next(frames)
    decoded = list(frames)
    fps = SPEED_UP / 0.1
    assert about["size"] == FRAME_SIZE
    assert about["fps"] == pytest.approx(fps)
    assert len(decoded) == 12 + 5 + 2 * round(OUTCOME_S * fps)
    assert len(decoded[0]) == FRAME_SIZE[0] * FRAME_SIZE[1] * 3
    first = Image.frombytes("RGB", FRAME_SIZE, decoded[0])
    composed = FrameComposer(start, make_drive(12, 1), REACHED).frame(0)
    assert np.abs(np.asarray(first, dtype=int) - np.asarray(composed, dtype=int)).mean() < 6


def test_a_video_that_is_cut_short_is_removed(tmp_path, make_drive, start, monkeypatch):
    class Interrupted:
        def send(self, frame):
            raise KeyboardInterrupt

        def close(self):
            pass

    video = Video(tmp_path / "drive.mp4", tick_s=0.1)
    video.add_goal(FrameComposer(start, make_drive(3)), 3)
    encoder = video._writer
    monkeypatch.setattr(video, "_writer", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        video.add_goal(FrameComposer(start, make_drive(3)), 3)
    encoder.close()
    assert (tmp_path / "drive.mp4").exists()
    video.close()
    assert not (tmp_path / "drive.mp4").exists()


def test_a_video_without_a_frame_is_none(tmp_path, make_drive, start, monkeypatch):
    video = Video(tmp_path / "drive.mp4", tick_s=0.1)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FrameComposer, "frame", interrupted)
        video.add_goal(FrameComposer(start, make_drive(3)), 3)
    video.close()
    assert not (tmp_path / "drive.mp4").exists()


def test_the_camera_is_shown_pixel_by_pixel(make_drive, start):
    records = make_drive(12)
    frame = np.asarray(FrameComposer(start, records).frame(3))
    left, upper, right, lower = CAMERA_BOX
    shown = frame[upper:lower, left:right][2::5, 2::5]
    below_the_label = slice(8, None)
    assert (shown[below_the_label] == records[3].camera[below_the_label]).all()
    assert (shown[below_the_label] != records[9].camera[below_the_label]).any()


def test_what_the_model_imagines_is_shown_heading_up(make_drive):
    """The drive circles clockwise, so the box is always on its right; a robot turned round has it left."""
    record = dataclasses.replace(make_drive(40)[20], plan_poses=None, candidate_poses=None, goal=None)

    def redness(image: Image.Image, left: int, right: int) -> float:
        picture = np.asarray(image, dtype=float)[120:200, left:right]
        return float((picture[..., 0] - picture[..., 2]).mean())

    image = imagined_panel(record, PANEL_SIZE, 0.3, 1)
    assert redness(image, 200, 310) > redness(image, 110, 150) + 20
    x, y, yaw = record.pose
    turned = imagined_panel(dataclasses.replace(record, pose=(x, y, yaw + math.pi)), PANEL_SIZE, 0.3, 1)
    assert redness(turned, 10, 120) > redness(turned, 170, 210) + 20


def test_the_driven_path_grows(make_drive, start):
    records = [dataclasses.replace(r, plan_poses=None, candidate_poses=None) for r in make_drive(40)]
    panel = WorldPanel(start, records, (616, 480), 0.3, 1)
    early, late = (share_of(panel.picture(index), DRIVEN) for index in (4, 39))
    assert late > 2 * early


def test_the_chosen_path_is_drawn_over_the_candidates(make_drive, start):
    records = make_drive(40)
    without = [dataclasses.replace(record, plan_poses=None) for record in records]
    drawn = share_of(WorldPanel(start, records, (616, 480), 0.3, 1).picture(20), PLAN)
    control = share_of(WorldPanel(start, without, (616, 480), 0.3, 1).picture(20), PLAN)
    assert drawn > 1e-3 > control


def test_drift_does_not_tear_imagined_paths_off_the_robot():
    believed, truth = (1.0, 2.0, 0.5), (3.0, -1.0, 0.5 + math.pi / 2)
    ahead = np.array([[1.0 + math.cos(0.5), 2.0 + math.sin(0.5), 0.5]])
    assert moved(ahead, believed, truth) == pytest.approx(
        np.array([[3.0 - math.sin(0.5), -1.0 + math.cos(0.5)]])
    )
    assert moved(ahead, believed, believed) == pytest.approx(ahead[:, :2])


def test_the_frame_stands_without_camera_map_plan_or_world(make_drive, start):
    bare = [
        dataclasses.replace(
            record,
            observation=Observation(record.time_s, record.tick, {}),
            pose=None,
            true_pose=None,
            plan_poses=None,
            candidate_poses=None,
            candidate_costs=None,
            local_map=None,
            plan_cost=math.nan,
        )
        for record in make_drive(3)
    ]
    plain = dataclasses.replace(start, top_view=None)
    assert FrameComposer(plain, bare, REACHED).last_frame().size == FRAME_SIZE


def test_numbers_that_are_not_finite_do_not_stop_the_drawing(make_drive, start):
    record = make_drive(1)[0]
    paths = record.candidate_poses.copy()
    paths[3] = np.nan
    costs = record.candidate_costs.copy()
    costs[:5] = (np.nan, np.inf, -np.inf, 0.0, 1e30)
    probability = np.full_like(record.local_map.probability, np.nan)
    broken = dataclasses.replace(
        record,
        candidate_poses=paths,
        candidate_costs=costs,
        plan_poses=paths[3],
        true_pose=(math.nan, 0.0, 0.0),
        local_map=dataclasses.replace(record.local_map, probability=probability),
        goal_distance_m=math.inf,
    )
    assert FrameComposer(start, [broken]).frame(0).size == FRAME_SIZE


def test_the_still_is_twice_as_large_and_shows_something_imagined(tmp_path, make_drive, start):
    records = make_drive(30)
    records[:25] = [dataclasses.replace(record, candidate_poses=None) for record in records[:25]]
    index, _ = most_telling(records)
    assert index >= 25
    save_still(tmp_path / "picture.png", start, records, index)
    with Image.open(tmp_path / "picture.png") as still:
        assert still.size == (2 * FRAME_SIZE[0], 2 * FRAME_SIZE[1])
