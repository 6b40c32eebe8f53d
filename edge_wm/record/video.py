"""The run's video, ``drive.mp4``, and its best single picture.  Made while the robot stands."""

from __future__ import annotations

import io
import math
from collections.abc import Generator, Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from edge_wm.output_file import write_atomically
from edge_wm.record.frame import FRAME_SIZE, FrameComposer
from edge_wm.record.tick_record import GoalStart, TickRecord

SPEED_UP = 2.0
"""The video runs twice as fast as the robot."""
OUTCOME_S = 1.0
"""How long the last picture of each goal stands, in seconds of video."""
STILL_SCALE = 2

# H.264 in yuv420p is what every browser plays.  A constant rate factor of 26 keeps small text readable at a few
# MB a minute; "faststart" lets it play before it is loaded.
_ENCODER = ["-crf", "26", "-preset", "veryfast", "-threads", "2", "-movflags", "+faststart"]


class Video:
    """One video of several goals.  One frame a tick; ``close`` makes the file complete.

    Args:
        path: of the MP4 file; removed if it has no frame or could not be completed.
        tick_s: duration of a tick.
    """

    def __init__(self, path: Path, tick_s: float) -> None:
        self._path = path
        self._fps = SPEED_UP / tick_s
        self._complete = False
        self._writer: Generator[None, bytes, None] = imageio_ffmpeg.write_frames(
            str(path),
            FRAME_SIZE,
            fps=self._fps,
            codec="libx264",
            quality=None,
            macro_block_size=2,
            ffmpeg_log_level="quiet",  # what goes wrong is raised as OSError, and told once
            output_params=_ENCODER,
        )
        self._encoding = False

    def add_goal(self, composer: FrameComposer, ticks: int) -> None:
        """Append the drive that ``composer`` holds: ``ticks`` frames and its outcome.  Raises OSError."""
        if not self._encoding:
            self._encoding = True
            next(self._writer)  # starts the encoder
        for index in range(ticks):
            self._send(composer.frame(index).tobytes())
        outcome = composer.last_frame().tobytes()
        for _ in range(outcome_frames(self._fps)):
            self._send(outcome)

    def close(self) -> None:
        """Finish the file.  Safe to call twice."""
        complete, self._complete = self._complete, False
        try:
            self._writer.close()
            self._complete = complete
        finally:
            if not self._complete:
                self._path.unlink(missing_ok=True)

    def _send(self, frame: bytes) -> None:
        self._complete = False  # Ctrl-C in here ends the encoder and leaves half a file
        self._writer.send(frame)
        self._complete = True


def outcome_frames(fps: float) -> int:
    """How many frames the outcome of a goal stands."""
    return round(OUTCOME_S * fps)


def save_still(path: Path, start: GoalStart, records: Sequence[TickRecord], index: int) -> None:
    """Save one tick of a drive as a PNG twice as large as the video."""
    picture = io.BytesIO()
    FrameComposer(start, records, scale=STILL_SCALE).frame(index).save(picture, "PNG")
    write_atomically(path, picture.getvalue())


def most_telling(records: Sequence[TickRecord]) -> tuple[int, float]:
    """The tick that shows most, and how much (more is better; -inf where nothing was imagined)."""
    interests = [_interest(record, index / len(records)) for index, record in enumerate(records)]
    best = int(np.argmax(interests))
    return best, interests[best]


def _interest(record: TickRecord, progress: float) -> float:
    """Metres: candidates that end far apart, something near to avoid, and some of the path behind it."""
    if record.candidate_poses is None or record.supervisor:
        return -math.inf
    spread = float(np.nan_to_num(record.candidate_poses[:, -1, :2]).std(axis=0).sum())
    near = record.min_range_m if math.isfinite(record.min_range_m) else 1.0
    return spread - 0.5 * min(near, 1.0) - abs(progress - 0.5)
