"""The robot's own knowledge of its models: which steps there are, and that each is whole or not at all."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from edge_wm.errors import BadInput
from edge_wm.update.database import DamagedStore
from edge_wm.update.store import FACTORY, MAX_FAILURES, Installed, State, Store

OLD = Installed("a" * 64, "rooms", "1.0.0", "stable", 1)
NEW = Installed("b" * 64, "rooms", "1.1.0", "stable", 2)


def store_at(folder: Path) -> Store:
    return Store(folder / "state.db", wall=lambda: 1e9)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_at(tmp_path)


def install(store: Store, model: Installed) -> str:
    slot = store.begin_fetch(model)
    store.stage(model)
    store.begin_trial()
    store.trial_drives()
    store.commit()
    return slot


def test_a_new_robot_drives_by_the_factorys_model(store: Store) -> None:
    assert (store.active, store.previous, store.attempt.state) == (FACTORY, FACTORY, State.IDLE)
    assert store.installed(FACTORY) is None


def test_models_go_to_the_slots_in_turn_and_the_one_before_is_kept(store: Store) -> None:
    assert install(store, OLD) == "a"
    assert (store.active, store.previous) == ("a", FACTORY)
    assert install(store, NEW) == "b"
    assert (store.active, store.previous) == ("b", "a")
    assert (store.installed("a"), store.installed("b")) == (OLD, NEW)


def test_while_a_slot_is_filled_it_is_nobodys_model(store: Store) -> None:
    install(store, OLD)
    install(store, NEW)
    assert store.begin_fetch(Installed("c" * 64, "rooms", "1.2.0", "stable", 3)) == "a"
    assert (store.active, store.previous, store.installed("a")) == ("b", FACTORY, None)


def test_the_slot_that_drives_is_never_written_even_if_it_is_not_the_active_one(store: Store) -> None:
    """As after a revocation of the active model: the one before drives."""
    install(store, OLD)
    install(store, NEW)
    fix = Installed("c" * 64, "rooms", "1.2.0", "stable", 3)
    assert store.begin_fetch(fix, keep="a") == "b"
    assert (store.active, store.previous, store.installed("a")) == ("a", FACTORY, OLD)
    assert store.begin_fetch(fix, keep="a") == "b"


@pytest.mark.parametrize("statement", ["UPDATE attempt SET state = 'triah'", "DROP TABLE attempt"])
def test_nonsense_in_a_row_is_damage(store: Store, statement: str) -> None:
    with store.transaction() as db:
        db.execute(statement)
    with pytest.raises(DamagedStore):
        _ = store.attempt


def test_a_fetch_that_goes_on_stays_in_its_slot_and_is_told_once(store: Store) -> None:
    install(store, OLD)
    assert [store.begin_fetch(NEW) for _ in range(3)] == ["b", "b", "b"]
    newer = Installed("c" * 64, "rooms", "1.2.0", "stable", 3)
    assert [store.begin_fetch(newer) for _ in range(2)] == ["b", "b"]
    told = [event.model for event in store.history() if event.event == "fetching"]
    assert told == [OLD.model, NEW.model, newer.model]


def test_a_failed_trial_leaves_the_old_model_and_counts(store: Store) -> None:
    install(store, OLD)
    store.begin_fetch(NEW)
    store.stage(NEW)
    store.begin_trial()
    failure = store.fail(NEW, "ticks were late")
    assert (failure.times, failure.quarantined) == (1, False)
    assert (store.active, store.attempt.state, store.installed("b")) == ("a", State.ROLLED_BACK, None)


def test_a_model_that_is_withdrawn_did_not_fail(store: Store) -> None:
    install(store, OLD)
    store.begin_fetch(NEW)
    store.stage(NEW)
    store.withdraw("canceled")
    assert (store.attempt.state, store.installed("b"), store.failure(NEW.model)) == (State.IDLE, None, None)
    assert store.active == "a"


def test_a_commit_lifts_no_quarantine(store: Store) -> None:
    store.begin_fetch(OLD)
    store.stage(OLD)
    store.begin_trial()
    store.revoke({OLD.model}, "revoked by its publisher")
    store.commit()
    assert [failure.model for failure in store.quarantined()] == [OLD.model]


def test_three_failures_are_a_quarantine_and_two_are_not(store: Store) -> None:
    seen = [store.fail(NEW, "crash").quarantined for _ in range(MAX_FAILURES)]
    assert seen == [False, False, True]
    assert [failure.model for failure in store.quarantined()] == [NEW.model]
    store.forgive(NEW.model)
    assert store.quarantined() == ()


def test_a_commit_forgives_what_failed_before(store: Store) -> None:
    store.fail(OLD, "no power")
    install(store, OLD)
    assert store.failure(OLD.model) is None


def test_going_back_quarantines_what_drove(store: Store) -> None:
    install(store, OLD)
    install(store, NEW)
    assert store.go_back("the operator said so") == "a"
    assert store.active == "a"
    assert [failure.model for failure in store.quarantined()] == [NEW.model]
    store.go_back("again")
    with pytest.raises(BadInput, match="nothing to go back to"):
        store.go_back("and again")


@pytest.mark.parametrize(
    "step", ["stage", "begin_trial", "shadow_passed", "trial_drives", "trial_pauses", "commit"]
)
def test_no_step_is_taken_out_of_turn(store: Store, step: str) -> None:
    arguments = {"stage": [NEW], "trial_pauses": [b"{}"]}.get(step, [])
    with pytest.raises(BadInput, match=r"no update is .*; the newest one is idle"):
        getattr(store, step)(*arguments)
    assert store.history() == []


def test_a_trial_that_pauses_goes_on_where_it_was_and_the_next_one_begins_anew(store: Store) -> None:
    store.begin_fetch(OLD)
    store.stage(OLD)
    store.begin_trial()
    store.shadow_passed()
    store.trial_drives()
    store.trial_pauses(b"{}")
    attempt = store.attempt
    assert (attempt.shadowed, attempt.begun, attempt.counts) == (True, False, b"{}")
    store.commit()
    store.begin_fetch(NEW)
    store.stage(NEW)
    store.begin_trial()
    attempt = store.attempt
    assert (attempt.shadowed, attempt.begun, attempt.counts) == (False, False, None)


def test_nothing_is_fetched_during_a_trial(store: Store) -> None:
    store.begin_fetch(OLD)
    store.stage(OLD)
    store.begin_trial()
    with pytest.raises(BadInput, match="on trial"):
        store.begin_fetch(NEW)


def test_what_was_done_is_there_for_the_next_process(store: Store, tmp_path: Path) -> None:
    install(store, OLD)
    with store_at(tmp_path) as other:
        assert other.installed(other.active) == OLD
        assert [event.event for event in other.history()] == ["fetching", "staged", "trial", "committed"]


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction() as db:
        db.execute("UPDATE choice SET active = 'b'")
        raise ZeroDivisionError
    assert store.active == FACTORY


def test_a_process_killed_in_a_transaction_leaves_nothing(tmp_path: Path) -> None:
    store_at(tmp_path).close()
    program = (
        "import os, signal, sys; from pathlib import Path; from edge_wm.update.store import Store\n"
        "with Store(Path(sys.argv[1])).transaction() as db:\n"
        "    db.execute('PRAGMA cache_size = 1')\n"
        "    db.executemany('INSERT INTO setting VALUES (?, ?)', ((str(n), 'x' * 4000) for n in range(500)))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path / "state.db")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "state.db-journal").exists(), "nothing to play back: the test shows nothing"
    assert (tmp_path / "state.db").stat().st_size > 100_000
    with store_at(tmp_path) as store:
        assert store.setting("7") is None
        store.set("7", "now")


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    store_at(tmp_path).close()
    with (tmp_path / "state.db").open("r+b") as file:
        file.seek(0)
        file.write(os.urandom(4096))
    with pytest.raises(DamagedStore, match="edge-wm update repair"):
        store_at(tmp_path)


def test_a_file_of_a_newer_edge_wm_is_left_alone(tmp_path: Path) -> None:
    store_at(tmp_path).close()
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute("PRAGMA user_version = 9")
    with pytest.raises(BadInput, match="of version 9"):
        store_at(tmp_path)


def test_commits_reach_the_disk_with_their_folder(store: Store) -> None:
    assert store._db.execute("PRAGMA synchronous").fetchone() == (3,)  # EXTRA
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_only_so_much_history_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_wm.update.store.KEPT_HISTORY", 5)
    for _ in range(4):
        install(store, OLD)
    assert len(store.history()) == 5
