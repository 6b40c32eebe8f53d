"""What the updater makes of what NetworkManager's ``nmcli`` says."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_wm.update.metered import is_metered

CABLE = "100 (connected)\nno (guessed)\n"
MODEM = "100 (connected)\nyes (guessed)\n"
PHONE = "100 (connected)\nyes\n"
MODEM_OFF = "30 (disconnected)\nyes\n"
LOOPBACK = "100 (connected (externally))\nunknown\n"


@pytest.mark.parametrize(
    ("devices", "metered"),
    [
        ((CABLE,), False),
        ((LOOPBACK, CABLE), False),
        ((CABLE, MODEM), True),
        ((PHONE,), True),
        ((CABLE, MODEM_OFF), False),
        ((), False),
    ],
)
def test_a_link_is_metered_if_a_connected_device_is(
    devices: tuple[str, ...], metered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nmcli_that_says(tmp_path, monkeypatch, "\n".join(devices))
    assert is_metered("auto") is metered


def test_the_setting_comes_before_networkmanager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nmcli_that_says(tmp_path, monkeypatch, CABLE)
    assert is_metered("yes")
    nmcli_that_says(tmp_path, monkeypatch, PHONE)
    assert not is_metered("no")


def test_without_networkmanager_no_link_is_metered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not is_metered("auto")


def test_networkmanager_is_understood_on_a_system_of_another_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    nmcli_that_says(tmp_path, monkeypatch, "100 (verbunden)\nja\n")
    (tmp_path / "C").write_text(PHONE)
    assert is_metered("auto")


def nmcli_that_says(folder: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    (folder / "said").write_text(words)
    nmcli = folder / "nmcli"
    nmcli.write_text(f'#!/bin/sh\n/bin/cat "{folder}/$LC_ALL" 2> /dev/null || /bin/cat {folder}/said\n')
    nmcli.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
