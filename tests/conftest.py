"""Settings that every test shares."""

from __future__ import annotations

from hypothesis import settings

# Examples are the same in every run, and a busy machine fails nobody: time is not what property tests are about.
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("steady")
