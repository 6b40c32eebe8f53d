"""What is done to the emulated board, and what must hold afterwards.

Each scenario finds a board that has booted and whose service is ready, and leaves one, unless it fails: the next one then gets
another board.  Times on its clock say nothing about a
real board; CPU time says how much is to be done.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_wm.paths import shipped
from tests.emulated_board.episode import WORDS, divergence, driven_here, ticks_of
from tests.emulated_board.fleet import WORLD, Fleet
from tests.emulated_board.installed import DROP_IN
from tests.emulated_board.machine import Board

UNIT = "edge-wm"
DROP_IN_OF_ONE = f"/run/systemd/system/{UNIT}.service.d/one-scenario.conf"
CTL, PYTHON = "/opt/edge-wm/venv/bin/edge-wm", "python3"
ASK = """
import socket
with socket.socket(socket.AF_UNIX) as service:
    service.settimeout(120)
    service.connect("/run/edge-wm/drive.sock")
    service.sendall(b'{"do": "status"}\\n')
    print(service.makefile().readline())
"""
MISSION = f"[mission]\nworlds = [{WORLD}]\nrepeat = true\nrest_s = 0.0\n\n[record]\nkeep = 5\n"
WATCHDOG = shipped("boards", "install", "watchdog.conf")
WATCHDOG_STATE = "/sys/class/watchdog/watchdog0/state"
WATCHDOG_S = 60
"""Where it is to be seen that it bites: longer than on a board, whose systemd takes no ten seconds to read its units."""
HANGS_S = 2.0 * WATCHDOG_S
READY_S, GOAL_S, UPDATE_S = 600.0, 1200.0, 3600.0
START_CPU_S = 20.0
"""From a board that has booted to a service that is ready."""
SAME = 0.0025
"""Metres, radians, m/s, rad/s between two records most of which are rounded to thousandths: a processor rounds its sums in another order."""
TICKS = 10
"""Of a drive of a hundred: so many tell that it drives."""


class Failed(Exception):
    """What must hold does not; one line."""


@dataclass
class Figures:
    """What was measured, to be recorded."""

    values: dict[str, float | str] = field(default_factory=dict)


Scenario = Callable[[Board, Figures], None]


def must(holds: bool, what: str) -> None:
    """Raise Failed if it does not."""
    if not holds:
        raise Failed(what)


def until(what: str, holds: Callable[[], bool], timeout_s: float, every_s: float = 2.0) -> float:
    """Wait for it; the seconds that took.  Raises Failed if it takes too long."""
    began = time.monotonic()
    while not holds():
        must(time.monotonic() - began < timeout_s, f"{what}: not within {timeout_s:.0f} s")
        time.sleep(every_s)
    return time.monotonic() - began


# --- what can be seen of the service ---------------------------------------------------------------------------------


def is_ready(board: Board) -> bool:
    """Whether it has told systemd that it is ready."""
    shown = board.properties(UNIT, "ActiveState", "SubState")
    must(shown["ActiveState"] != "failed", f"{UNIT} has failed: {journal(board)}")
    return (shown["ActiveState"], shown["SubState"]) == ("active", "running")


def wait_until_ready(board: Board) -> None:
    """Until systemd has been told so."""
    until(f"{UNIT} ready", lambda: is_ready(board), READY_S)


def restarts(board: Board) -> int:
    """How often systemd has restarted it since it was started by hand or by the boot."""
    return int(board.properties(UNIT, "NRestarts")["NRestarts"])


def last_fed(board: Board) -> int:
    """When the service's watchdog was fed last, in microseconds since the boot."""
    return int(board.properties(UNIT, "WatchdogTimestampMonotonic")["WatchdogTimestampMonotonic"])


def status(board: Board) -> dict[str, object]:
    """What it answers at its socket."""
    answer: dict[str, object] = json.loads(board.do(f"{PYTHON} -c {shlex.quote(ASK)}"))
    return answer


def reached(board: Board) -> int:
    """Goals reached since the process began, as its journal has them."""
    pid = board.properties(UNIT, "MainPID")["MainPID"]
    lines = board.run(f"journalctl -o cat _PID={pid} | grep -c ': reached'").out.strip()
    return int(lines or 0)


def drives_on(board: Board) -> None:
    """Wait until the loop has gone round some more times."""
    before = ticks(board)
    until("ticks", lambda: ticks(board) >= before + TICKS, GOAL_S)


def ticks(board: Board) -> int:
    """Since the process began."""
    return int(str(status(board)["ticks"]))


def reaches_a_goal(board: Board) -> float:
    """Wait until it has driven to one more goal; the seconds that took."""
    before, pid = reached(board), board.properties(UNIT, "MainPID")["MainPID"]
    took = until("a goal reached", lambda: reached(board) > before, GOAL_S, 5.0)
    must(board.properties(UNIT, "MainPID")["MainPID"] == pid, f"another process drives now: {journal(board)}")
    return took


def journal(board: Board) -> str:
    """Its last words."""
    return board.run(f"journalctl -u {UNIT} -o cat -n 15").out.strip()


# --- the scenarios ---------------------------------------------------------------------------------------------------


def prepare(board: Board) -> None:
    """Simulated time, and a mission without end."""
    board.do(f"mkdir -p /etc/systemd/system/{UNIT}.service.d")
    board.do(f"cat > /etc/systemd/system/{UNIT}.service.d/emulated.conf <<'END'\n{DROP_IN}END")
    board.do(f"cat > /etc/edge-wm/drive.toml <<'END'\n{MISSION}END")
    board.do(f"systemctl daemon-reload; systemctl restart {UNIT}", READY_S)


def is_ready_after_boot(board: Board, figures: Figures) -> None:
    """The service is ready though nobody did anything, and what that cost beyond the system."""
    wait_until_ready(board)
    shown = board.properties(UNIT, "Type", "CPUUsageNSec", "ActiveEnterTimestampMonotonic", "NRestarts")
    must(shown["Type"] == "notify", "systemd was not told that it is ready")
    must(shown["NRestarts"] == "0", f"it took {shown['NRestarts']} restarts: {journal(board)}")
    figures.values["service_cpu_s"] = int(shown["CPUUsageNSec"]) / 1e9
    figures.values["ready_after_s"] = int(shown["ActiveEnterTimestampMonotonic"]) / 1e6


def a_cold_boot_has_its_price(board: Board, figures: Figures) -> None:
    """CPU time of the emulator from reset until the board has booted without the service, and then until that is ready.

    It is the emulator's because a second of the board's own clock is worth less the more this machine has to do, and one after
    the other because two emulated cores at work slow each other down.  Nothing of the service was read from the disk before, and
    it rests when it is ready: what a drive costs is no part of the start.
    """
    board.do("mv /etc/edge-wm/drive.toml /etc/edge-wm/mission.toml; : > /etc/edge-wm/drive.toml")
    board.do(f"systemctl disable {UNIT}; sync")
    began = board.host_cpu_s
    board.reset()
    board.run("systemctl is-system-running --wait", READY_S)
    booted = board.host_cpu_s
    board.do(f"systemctl start {UNIT}", READY_S)
    beyond = board.host_cpu_s - booted
    figures.values["boot_cpu_s"] = booted - began
    figures.values["ready_beyond_boot_cpu_s"] = beyond
    figures.values["ready_service_cpu_s"] = int(board.properties(UNIT, "CPUUsageNSec")["CPUUsageNSec"]) / 1e9
    board.do(f"systemctl enable {UNIT}; mv /etc/edge-wm/mission.toml /etc/edge-wm/drive.toml")
    board.do(f"systemctl restart {UNIT}", READY_S)
    must(beyond < START_CPU_S, f"ready costs {beyond:.1f} s of CPU beyond the system's own boot")


def the_watchdog_is_fed(board: Board, figures: Figures) -> None:
    """While it drives, and by the loop itself."""
    before, first = restarts(board), last_fed(board)
    until("driving", lambda: ticks(board) > 0, READY_S)
    until("watchdog fed", lambda: last_fed(board) > first, READY_S)
    must(restarts(board) == before, f"it was restarted meanwhile: {journal(board)}")


def it_drives(board: Board, figures: Figures) -> None:
    """The simulated robot, to a goal in a room it has never seen."""
    figures.values["goal_s"] = reaches_a_goal(board)


def killed_it_comes_back(board: Board, figures: Figures) -> None:
    """``kill -9`` in the middle of a drive."""
    before = restarts(board)
    board.do(f"systemctl kill --kill-whom=main --signal=KILL {UNIT}")
    until("restarted", lambda: restarts(board) == before + 1 and is_ready(board), READY_S)
    drives_on(board)


def hung_it_is_restarted(board: Board, figures: Figures) -> None:
    """Stopped, it feeds nothing: the watchdog ends it."""
    watch(board, WATCHDOG_S)
    before = restarts(board)
    board.do(f"systemctl kill --kill-whom=main --signal=STOP {UNIT}")
    took = until(
        "restarted", lambda: restarts(board) == before + 1 and is_ready(board), READY_S + 2 * WATCHDOG_S
    )
    must("watchdog" in board.do(f"journalctl -u {UNIT} -o cat -n 200").lower(), "it was not the watchdog")
    figures.values["hang_to_ready_s"] = took
    as_before(board)
    drives_on(board)


def without_a_watchdog_it_stays_hung(board: Board, figures: Figures) -> None:
    """The negative control: nothing else would restart it."""
    watch(board, 0)
    before = restarts(board)
    board.do(f"systemctl kill --kill-whom=main --signal=STOP {UNIT}")
    time.sleep(1.5 * WATCHDOG_S)
    must(restarts(board) == before, "it was restarted without a watchdog: by whom?")
    board.do(f"systemctl kill --signal=KILL {UNIT}")
    until("restarted", lambda: restarts(board) == before + 1 and is_ready(board), READY_S)
    as_before(board)


def watch(board: Board, seconds: int) -> None:
    """Start it again with another watchdog; 0 for none."""
    board.do(
        f"mkdir -p $(dirname {DROP_IN_OF_ONE}); printf '[Service]\\nWatchdogSec={seconds}\\n' > {DROP_IN_OF_ONE}"
    )
    board.do(f"systemctl daemon-reload; systemctl restart {UNIT}", READY_S)


def as_before(board: Board) -> None:
    """With the watchdog that all scenarios have."""
    board.do(f"rm {DROP_IN_OF_ONE}; systemctl daemon-reload; systemctl restart {UNIT}", READY_S)


def a_full_disk_does_not_stop_it(board: Board, figures: Figures) -> None:
    """Not while it drives, and not when it starts."""
    board.run(
        "dd if=/dev/zero of=/var/lib/edge-wm/full bs=1M; sync; dd if=/dev/zero of=/var/lib/edge-wm/full2 bs=1k",
        600.0,
    )
    must(board.run("echo x > /var/lib/edge-wm/one-more && sync").code != 0, "the disk is not full")
    reaches_a_goal(board)
    board.do(f"systemctl kill --kill-whom=main --signal=KILL {UNIT}")
    wait_until_ready(board)
    drives_on(board)
    board.do("rm /var/lib/edge-wm/full /var/lib/edge-wm/full2")


def a_read_only_disk_does_not_stop_it(board: Board, figures: Figures) -> None:
    """As after an error of the card: everything on it can be read, and nothing written."""
    board.do("echo u > /proc/sysrq-trigger; sleep 2")
    must(board.run("touch /var/lib/edge-wm/one-more").code != 0, "the disk can be written to")
    reaches_a_goal(board)
    board.do(f"systemctl kill --kill-whom=main --signal=KILL {UNIT}")
    wait_until_ready(board)
    drives_on(board)
    board.reset()
    wait_until_ready(board)
    must(
        board.run("touch /var/lib/edge-wm/one-more && rm /var/lib/edge-wm/one-more").code == 0,
        "it stayed read-only",
    )


def a_reset_in_the_middle_of_a_drive(board: Board, figures: Figures) -> None:
    """As by a hardware watchdog."""
    until("driving", lambda: status(board)["state"] == "driving", GOAL_S, 1.0)
    board.reset()
    wait_until_ready(board)
    drives_on(board)


def no_power_in_the_middle_of_a_drive(board: Board, figures: Figures) -> None:
    """Without a word."""
    until("driving", lambda: status(board)["state"] == "driving", GOAL_S, 1.0)
    board.cut()
    board.start()
    wait_until_ready(board)
    drives_on(board)


def a_hung_kernel_is_reset_by_the_hardware(board: Board, figures: Figures) -> None:
    """With what install.sh writes for a robot that is not simulated, but for the time; and without it, the control, it stays hung."""
    hang(board)
    must(not board.resets(HANGS_S), "it was reset without a watchdog: by what?")
    must("Kernel panic" in board.console.read_text(errors="replace")[-2000:], "the kernel did not hang")
    board.reset()
    folder = "/etc/systemd/system.conf.d"
    written = re.sub(r"(?m)^(RuntimeWatchdogSec)=\d+$", rf"\1={WATCHDOG_S}", WATCHDOG.read_text())
    board.do(f"mkdir -p {folder}; cat > {folder}/edge-wm.conf <<'END'\n{written}END")
    board.do("sync; systemctl daemon-reexec")
    until("watchdog fed by systemd", lambda: "active" in board.do(f"cat {WATCHDOG_STATE}"), 60.0)
    hang(board)
    began = time.monotonic()
    must(board.resets(HANGS_S), "the watchdog did not reset it")
    board.meet()
    figures.values["hung_kernel_to_boot_s"] = time.monotonic() - began
    board.do(f"rm {folder}/edge-wm.conf; systemctl daemon-reexec")
    wait_until_ready(board)
    drives_on(board)


def hang(board: Board) -> None:
    """Have its kernel panic, and stay as it is then."""
    board.begin("sysctl -q kernel.panic=0; sleep 5; echo c > /proc/sysrq-trigger")


def it_drives_as_this_machine_does(board: Board, figures: Figures) -> None:
    """The same seed, world and bundle in fp32, in simulated time: tick by tick the same drive, as far as it is recorded."""
    board.do(f"systemctl stop {UNIT}; rm -rf /root/episode")
    board.do(f"cd /root; {CTL} {' '.join(WORDS)} --runs episode", GOAL_S)
    there = ticks_of(board.do("cat /root/episode/*/ticks.jsonl"))
    board.do(f"systemctl start {UNIT}", READY_S)
    apart = divergence(driven_here(), there)
    figures.values["episode_ticks"] = len(there)
    figures.values |= {f"apart_{name}": round(value, 6) for name, value in apart.items()}
    must(max(apart.values()) <= SAME, f"the drives part: {apart}")


def follow(board: Board, fleet: Fleet) -> None:
    """From now on the board gets its models from a fleet's repository."""
    for name, content in (("update.toml", fleet.config), ("root.json", fleet.root)):
        board.do(f"cat > /etc/edge-wm/{name} <<'END'\n{content}\nEND")
    board.do(f"cat > /etc/edge-wm/drive.toml <<'END'\nupdates = \"update.toml\"\n{MISSION}END")
    board.do(f"systemctl restart {UNIT}", READY_S)


def look_for_an_update(board: Board) -> str:
    """Let the timer's unit look once, as it is; what it says in the journal."""
    began = board.do("date +%s").strip()
    board.run(f"systemctl start {UNIT}-update", UPDATE_S)
    return board.do(f"journalctl -u {UNIT}-update -o cat --since=@{began}")


def says(board: Board, model: str, what: str) -> bool:
    """Whether the service has said something of a model in its journal since the board has booted."""
    said = board.do(f"journalctl -b -u {UNIT} -o cat")
    return re.search(rf"^{re.escape(model)} \([0-9a-f]+\) {re.escape(what)}", said, re.MULTILINE) is not None


def the_board_finds_an_update(board: Board, figures: Figures) -> None:
    """And believes its signatures."""
    with Fleet.in_a_folder() as fleet:
        fleet.publish_good("1.0.0")
        follow(board, fleet)
        said = board.do(f"runuser -u edge-wm -- {CTL} update check")
        must("to fetch" in said, f"nothing to fetch: {said}")
        drives_on(board)


def updates_go_in_and_bad_ones_come_out(board: Board, figures: Figures) -> None:
    """A good one is fetched over HTTP, proven in the sandbox, shadows the model that drives, is tried, and kept."""
    with Fleet.in_a_folder() as fleet:
        fleet.publish_good("1.0.0")
        follow(board, fleet)
        said = look_for_an_update(board)
        must("on trial" in said or "staged" in said, f"it was not staged: {said}")
        until("passed its trial", lambda: says(board, "blind 1.0.0", "has passed its trial"), UPDATE_S, 10.0)
        must(status(board)["model"] == "blind 1.0.0", f"{status(board)['model']} drives")
        drives_on(board)
        fleet.publish_broken("1.1.0")
        said = look_for_an_update(board)
        refused = [line for line in said.splitlines() if "warning" in line]
        must(bool(refused), f"a model that computes something else was not refused: {said}")
        figures.values["refused"] = refused[-1]
        fleet.publish_bad("1.2.0")
        said = look_for_an_update(board)
        must("on trial" in said or "staged" in said, f"it was not staged: {said}")
        until("given up", lambda: says(board, "blind 1.2.0", "is given up, the model before"), UPDATE_S, 10.0)
        must(status(board)["model"] == "blind 1.0.0", f"{status(board)['model']} drives")
        drives_on(board)
    figures.values["given_up"] = board.do(
        f"journalctl -b -u {UNIT} -o cat | grep 'is given up' | tail -1"
    ).strip()


IN_BOTH: tuple[Scenario, ...] = (is_ready_after_boot, the_watchdog_is_fed, it_drives, killed_it_comes_back)
QUICK: tuple[Scenario, ...] = (*IN_BOTH, the_board_finds_an_update)
LONG: tuple[Scenario, ...] = (  # a board belongs to one fleet: one scenario with updates
    *IN_BOTH,
    a_cold_boot_has_its_price,
    hung_it_is_restarted,
    without_a_watchdog_it_stays_hung,
    a_full_disk_does_not_stop_it,
    a_read_only_disk_does_not_stop_it,
    a_reset_in_the_middle_of_a_drive,
    no_power_in_the_middle_of_a_drive,
    a_hung_kernel_is_reset_by_the_hardware,
    it_drives_as_this_machine_does,
    updates_go_in_and_bad_ones_come_out,
)
