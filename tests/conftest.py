"""Settings that every test shares."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

# Examples are the same in every run, and a busy machine fails nobody: time is not what property tests are about.
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("steady")


@pytest.fixture(autouse=True, scope="session")
def hear_stop_signals() -> None:
    """A shell starts what it runs in the background deaf to Ctrl-C, which commands rightly respect."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
