"""What a machine tells of itself is read where the board file says; what it does not tell is empty, and never zero."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_wm.board import Health, board_files, load_board
from edge_wm.profile.machine_state import MachineState, machine_state, power_w, printed

PMIC = (
    "VDD_CORE_A current(7)=1.50000000A\n VDD_CORE_V volt(15)=0.80000000V\n 3V3_SYS_A current(1)=0.10000000A\n"
)
PMIC += "3V3_SYS_V volt(9)=3.30000000V\n EXT5V_V volt(24)=5.10000000V\n"


def silent(command: str) -> str | None:
    return None


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The file system of a board that tells everything."""
    files = {
        "sys/class/thermal/thermal_zone0/type": "gpu-thermal",
        "sys/class/thermal/thermal_zone0/temp": "61000",
        "sys/class/thermal/thermal_zone1/type": "cpu-thermal",
        "sys/class/thermal/thermal_zone1/temp": "48250",
        "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1800000",
        "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "schedutil",
        "sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq": "2400000",
        "sys/devices/system/cpu/cpufreq/policy4/scaling_governor": "schedutil",
        "proc/loadavg": "0.35 0.20 0.10 1/100 4242",
        "sys/class/hwmon/hwmon3/in1_input": "5000",
        "sys/class/hwmon/hwmon3/curr1_input": "1200",
        "sys/class/hwmon/hwmon4/power1_input": "750000",
    }
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return tmp_path


def test_a_board_is_read_where_its_file_says(root: Path) -> None:
    health = Health(
        thermal_zones=("cpu-thermal",),
        throttled="vcgencmd get_throttled",
        power=("/sys/class/hwmon/hwmon*/in1_input", "/sys/class/hwmon/hwmon*/power1_input"),
    )
    told = machine_state(health, root, {"vcgencmd get_throttled": "throttled=0x0\n"}.get)
    assert told == MachineState(48.25, (1800, 2400), "schedutil", "throttled=0x0", 0.35, 6.75)


def test_without_a_zone_in_the_board_file_the_hottest_counts(root: Path) -> None:
    assert machine_state(Health(), root, silent).temperature_c == 61.0
    assert machine_state(Health(thermal_zones=("soc-thermal",)), root, silent).temperature_c is None


def test_a_machine_that_tells_nothing_gives_nothing(tmp_path: Path) -> None:
    health = Health(throttled="vcgencmd get_throttled", power=("/sys/class/hwmon/hwmon*/power1_input",))
    assert machine_state(health, tmp_path, silent) == MachineState()


def test_a_sensor_that_does_not_answer_makes_power_unknown_and_not_smaller(root: Path) -> None:
    both = Health(power=("/sys/class/hwmon/hwmon3/in1_input", "/sys/class/hwmon/hwmon4/power1_input"))
    assert power_w(both, root, silent) == 6.75
    (root / "sys/class/hwmon/hwmon3/curr1_input").write_text("N/A\n")
    assert power_w(both, root, silent) is None
    assert power_w(Health(), root, silent) is None


def test_the_power_of_a_jetson_is_read_as_its_board_file_says(tmp_path: Path) -> None:
    health = load_board(board_files()["jetson-orin-nano"]).health
    chip = tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
    chip.mkdir(parents=True)
    assert power_w(health, tmp_path, silent) is None
    for name, text in (
        ("in1_input", "5040"),
        ("curr1_input", "1500"),
        ("in2_input", "5000"),
        ("curr2_input", "900"),
    ):
        (chip / name).write_text(text + "\n")
    assert power_w(health, tmp_path, silent) == 7.56


def test_the_power_of_the_first_jetson_nano_is_in_milliwatts(tmp_path: Path) -> None:
    health = load_board(board_files()["jetson-nano"]).health
    chip = tmp_path / "sys/bus/i2c/devices/6-0040/iio:device0"
    chip.mkdir(parents=True)
    assert power_w(health, tmp_path, silent) is None
    (chip / "in_power0_input").write_text("2490\n")
    assert power_w(health, tmp_path, silent) == 2.49
    (chip / "in_power0_input").write_text("N/A\n")
    assert power_w(health, tmp_path, silent) is None


@pytest.mark.parametrize(
    ("board", "folder", "files", "told"),
    [
        ("jetson-orin-nano", "sys/class/hwmon/hwmon3", ("oc1_event_cnt", "oc3_event_cnt"), "0, 7"),
        (
            "generic-x86-64",
            "sys/devices/system/cpu/cpu{}/thermal_throttle",
            ("core_throttle_count",) * 2,
            "0, 7",
        ),
    ],
)
def test_events_that_lowered_clocks_are_read_as_the_board_file_says(
    tmp_path: Path, board: str, folder: str, files: tuple[str, ...], told: str
) -> None:
    health = load_board(board_files()[board]).health
    assert machine_state(health, tmp_path, silent).throttled is None
    for number, (name, count) in enumerate(zip(files, ("0", "7"), strict=True)):
        file = tmp_path / folder.format(number) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(count + "\n")
    assert machine_state(health, tmp_path, silent).throttled == told


def test_rails_of_a_power_chip_count_where_volts_and_amperes_are_known(tmp_path: Path) -> None:
    health = Health(power=("vcgencmd pmic_read_adc",))
    assert power_w(health, tmp_path, {"vcgencmd pmic_read_adc": PMIC}.get) == 1.53
    assert power_w(health, tmp_path, silent) is None


def test_a_command_that_is_missing_or_fails_prints_nothing() -> None:
    assert printed("echo hello") == "hello\n"
    assert printed("no-such-command-here") is None
    assert printed("false") is None
