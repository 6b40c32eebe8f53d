"""What is done to the emulated board, and what must hold afterwards.

Each scenario finds a board that has booted and whose service is ready, and leaves one, unless it fails: the next one then gets
another board.  Times on its clock say nothing about a
real board; CPU time says how much is to be done.
"""

from __future__ import annotations

import json
import re
import shlex
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edge_wm.paths import shipped
from tests.arm64.root import REPOSITORY
from tests.emulated_board.episode import WORDS, divergence, driven_here, ticks_of
from tests.emulated_board.fleet import WORLD, Fleet
from tests.emulated_board.installed import BOARD, BUNDLE, DROP_IN
from tests.emulated_board.machine import Board
from tests.emulated_board.web import WebServer

UNIT = "edge-wm"
DROP_IN_OF_ONE = f"/run/systemd/system/{UNIT}.service.d/one-scenario.conf"
UPDATES = f"{UNIT}-update"
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
READY_S, GOAL_S, UPDATE_S, INSTALL_S = 600.0, 1200.0, 3600.0, 1800.0
START_CPU_S = 20.0
"""Of the service until it is ready, beyond the system's own boot."""
SAME = 0.0025
"""Metres, radians, m/s, rad/s between two records most of which are rounded to thousandths: a processor rounds its sums in another order."""
FETCH = """
import sys, tarfile, urllib.request
with urllib.request.urlopen(sys.argv[1]) as answer, tarfile.open(fileobj=answer, mode="r|") as archive:
    archive.extractall(sys.argv[2])
"""
UNPLUG_CLOCK = """
for chip in /sys/class/rtc/rtc*/device; do
  device=$(readlink -f "$chip")
  basename "$device" > "$device/driver/unbind"
done
"""
SAY_CLOCK_IS_SET = """
import ctypes, struct
ADJ_MAXERROR, ADJ_STATUS = 0x4, 0x10
timex = struct.pack("@Illlli", ADJ_MAXERROR | ADJ_STATUS, 0, 0, 0, 0, 0)
assert ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(timex, 512)) == 0
"""
"""What the client of a time server tells the kernel."""
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


def service_cpu_s(board: Board) -> float:
    """CPU time of its processes, as the board's kernel counts it."""
    return int(board.properties(UNIT, "CPUUsageNSec")["CPUUsageNSec"]) / 1e9


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
    """The service is ready though nobody did anything."""
    wait_until_ready(board)
    shown = board.properties(UNIT, "Type", "ActiveEnterTimestampMonotonic", "NRestarts")
    must(shown["Type"] == "notify", "systemd was not told that it is ready")
    must(shown["NRestarts"] == "0", f"it took {shown['NRestarts']} restarts: {journal(board)}")
    figures.values["ready_after_s"] = int(shown["ActiveEnterTimestampMonotonic"]) / 1e6


def a_cold_boot_has_its_price(board: Board, figures: Figures) -> None:
    """CPU time from reset until the board has booted without the service, and what the service takes beyond that until it is ready.

    That is counted twice: by the emulator, for a start right after the boot, with the kernel's share of it; and by the board's own
    kernel, for the start that is part of the boot.  The emulator's of two whole boots, with and without, would count more than
    the service: two emulated cores at work slow each other down.  Nothing of the service was read from the disk before, and
    it rests when it is ready: what a drive costs is no part of the start.
    """
    with at_rest(board):
        board.do(f"systemctl disable {UNIT}; sync")
        began = board.host_cpu_s
        board.reset()
        board.run("systemctl is-system-running --wait", READY_S)
        booted = board.host_cpu_s
        board.do(f"systemctl start {UNIT}", READY_S)
        after = board.host_cpu_s - booted
        board.do(f"systemctl enable {UNIT}; sync")
        board.reset()
        wait_until_ready(board)
        within = service_cpu_s(board)
    figures.values["boot_cpu_s"] = booted - began
    figures.values["ready_after_boot_cpu_s"] = after
    figures.values["ready_within_boot_cpu_s"] = within
    must(
        max(after, within) < START_CPU_S,
        f"ready costs {after:.1f} s after the boot, {within:.1f} s within it",
    )


@contextmanager
def at_rest(board: Board) -> Iterator[None]:
    """Its service is ready, and has nothing to do; it drives again afterwards."""
    board.do("cd /etc/edge-wm; mv drive.toml mission.toml; : > drive.toml")
    board.do(f"systemctl restart {UNIT}", READY_S)
    yield
    board.do("cd /etc/edge-wm; mv mission.toml drive.toml")
    board.do(f"systemctl restart {UNIT}", READY_S)


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
    began = clock(board)
    board.run(f"systemctl start {UPDATES}", UPDATE_S)
    return said_of_updates(board, began)


def clock(board: Board) -> str:
    """The board's, for ``said_of_updates``."""
    return board.do("date +%s").strip()


def said_of_updates(board: Board, since: str) -> str:
    """What the service that looks for updates has said in its journal."""
    return board.do(f"journalctl -u {UPDATES} -o cat --since=@{since}")


def look_for_updates_for_good(board: Board) -> None:
    """Have a permanent service in place of the timer's looks, with the lines of docs/fleet.md."""
    found = re.search(
        r"^```\n(\[Service\]\nType=exec\n.*?)^```$",
        (REPOSITORY / "docs" / "fleet.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    must(found is not None, "docs/fleet.md does not say how")
    assert found is not None
    folder = f"/etc/systemd/system/{UPDATES}.service.d"
    board.do(f"mkdir -p {folder}; cat > {folder}/override.conf <<'END'\n{found[1]}END")
    board.do(f"systemctl daemon-reload; systemctl restart {UPDATES}", READY_S)


def updates_wait_for_the_time(board: Board) -> None:
    """Without a clock chip, until the clock follows somebody; the look goes on after that."""
    board.do(UNPLUG_CLOCK)
    said = look_for_an_update(board)
    must("updates wait until the clock is set" in said, f"a clock that nobody has set is believed: {said}")
    drives_on(board)
    board.do(f"{PYTHON} - <<'END'\n{SAY_CLOCK_IS_SET}END")


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
        updates_wait_for_the_time(board)
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
        fleet.server.out_of_order = True
        began = clock(board)
        look_for_updates_for_good(board)
        until("a look that failed", lambda: "warning" in said_of_updates(board, began), UPDATE_S, 5.0)
        fleet.server.out_of_order = False
        staged = re.compile("on trial|staged")
        figures.values["looked_again_s"] = until(
            "staged", lambda: staged.search(said_of_updates(board, began)) is not None, UPDATE_S, 5.0
        )
        until("given up", lambda: says(board, "blind 1.2.0", "is given up, the model before"), UPDATE_S, 10.0)
        must(status(board)["model"] == "blind 1.0.0", f"{status(board)['model']} drives")
        drives_on(board)
    figures.values["given_up"] = board.do(
        f"journalctl -b -u {UNIT} -o cat | grep 'is given up' | tail -1"
    ).strip()


def installed_anew_it_drives_on(board: Board, figures: Figures) -> None:
    """``install.sh``, run again on a board in use: nothing to do, a damaged bundle, and another version.

    Who ran from the old version's environment, which is removed, runs from the new one's afterwards.  It rests meanwhile: an
    emulated processor is slow enough.
    """
    if board.run("test -e /etc/edge-wm/update.toml").code != 0:  # a board of its own
        with Fleet.in_a_folder() as fleet:
            follow(board, fleet)
    if board.properties(UPDATES, "Type")["Type"] != "exec":
        look_for_updates_for_good(board)
    bring_bundle(board)
    with at_rest(board):
        install_anew(board, figures)
    drives_on(board)


def install_anew(board: Board, figures: Figures) -> None:
    """From the bundle as it is, damaged, and as another version."""
    install = f"bash /root/bundle/install.sh --yes --board {BOARD}"
    old, pid = environment(board), board.properties(UNIT, "MainPID")["MainPID"]
    must("nothing changed" in board.do(install, INSTALL_S), "a second time, something changed")
    must(board.properties(UNIT, "MainPID")["MainPID"] == pid, "nothing changed, and it was restarted")

    board.do("echo '# another version' >> /root/bundle/requirements/test.txt")
    done = board.run(install, INSTALL_S)
    must(done.code == 2 and "is damaged" in done.err, f"a damaged bundle: {done}")
    must(runs_from(board, old) == {UNIT, UPDATES}, f"{runs_from(board, old)} run from {old}")

    file = "requirements/test.txt"
    board.do(f"cd /root/bundle; sed -i '\\|  {file}$|d' SHA256SUMS; sha256sum {file} >> SHA256SUMS")
    began = time.monotonic()
    board.do(install, INSTALL_S)
    figures.values["installed_anew_s"] = time.monotonic() - began
    new = environment(board)
    must(new != old and board.run(f"test -e {old}").code != 0, f"{old} is still there, and {new} is used")
    must(not runs_from(board, old), f"{runs_from(board, old)} still run from {old}")
    wait_until_ready(board)
    must(UNIT in runs_from(board, new), f"{UNIT} does not run from {new}")
    board.do(f"systemctl restart {UPDATES}", READY_S)
    until(f"{UPDATES} runs from {new}", lambda: UPDATES in runs_from(board, new), READY_S)


def bring_bundle(board: Board) -> None:
    """Have the offline bundle on the board that it was installed from."""
    with tempfile.TemporaryDirectory(prefix="bundle-") as folder, WebServer(Path(folder)) as server:
        with tarfile.open(Path(folder) / "bundle.tar", "w") as archive:
            archive.add(BUNDLE, "bundle")
        board.do(f"{PYTHON} -c {shlex.quote(FETCH)} {server.url}bundle.tar /root", INSTALL_S)


def environment(board: Board) -> str:
    """The folder of the Python environment that is used."""
    return board.do("readlink -f /opt/edge-wm/venv").strip()


def runs_from(board: Board, folder: str) -> set[str]:
    """Which units have a process with a file of this folder in its memory, whether or not it still has a name."""
    maps = board.run(f"grep -ls {folder}/ /proc/[0-9]*/maps").out
    pids = [line.split("/")[2] for line in maps.split()]
    units = board.run(f"ps -o unit= -p {','.join(pids)}").out if pids else ""
    return {unit.removesuffix(".service") for unit in units.split()}


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
    installed_anew_it_drives_on,
)
