"""A real robot whose service was killed no longer knows where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_wm.drive.requests import Connection, Now
from edge_wm.drive.service_file import Mission
from tests.blind_model import write_blind
from tests.drive.service_bench import Bench

MISSION = Mission(goals=((0.1, 0.0),), repeat=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blind(tmp_path_factory.mktemp("bundles") / "blind")


def test_a_mission_waits_after_a_crash_and_not_after_an_orderly_end(tmp_path: Path, model: Path) -> None:
    for end, waits in (("orderly", False), ("killed", False), ("orderly", True), ("orderly", False)):
        bench = Bench(tmp_path, model, MISSION)
        assert any("the mission waits" in line for line in bench.said) == waits
        if not waits:
            with pytest.raises(KeyboardInterrupt):
                bench.service.run([])
            assert bench.bridge.stopped > 0
            assert "reached" in bench.said[-1]
        if end == "orderly":
            bench.service.forget()
        bench.service.close()


def test_killed_at_rest_it_does_not_know_either_where_it_is_and_names_no_mission_that_it_has_not(
    tmp_path: Path, model: Path
) -> None:
    bench = Bench(tmp_path, model, MISSION)
    with pytest.raises(KeyboardInterrupt):
        bench.service.run([])
    assert bench.service._driving_to is None
    bench.service.close()
    for mission, waits in ((MISSION, True), (Mission(), False)):
        bench = Bench(tmp_path, model, mission)
        (note,) = bench.said
        assert note.startswith("note: it ended unasked after it had driven")
        assert ("the mission waits for edge-wm go" in note) == waits
        bench.service.close()


def test_it_says_where_it_believes_to_be(tmp_path: Path, model: Path) -> None:
    bench = Bench(tmp_path, model, MISSION)
    with pytest.raises(KeyboardInterrupt):
        bench.service.run([])
    with Connection(bench.socket) as client:
        client._socket.sendall(b'{"do":"status"}\n')
        for _ in range(3):
            bench.service._requests.poll()
        now = client.wait()
    assert isinstance(now, Now)
    assert now.pose == pytest.approx((0.0, 0.0, 0.0))  # fake wheels do not turn
    assert (now.goals, now.reached) == (1, 1)
    bench.service.close()
