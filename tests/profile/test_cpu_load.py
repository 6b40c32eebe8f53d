"""A CPU load keeps cores busy while it is wanted, and not for longer, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_wm.profile.cpu_load import cpu_load

WAIT_S = 20.0


def is_there(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until(holds: object) -> bool:
    assert callable(holds)
    until = time.monotonic() + WAIT_S
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def test_the_processes_burn_cpu_at_usual_priority_and_end_with_the_load() -> None:
    with cpu_load(2, settle_s=0.0) as burners:
        assert len(burners) == 2
        assert [os.getpriority(os.PRIO_PROCESS, pid) for pid in burners] == [
            os.getpriority(os.PRIO_PROCESS, 0)
        ] * 2
        assert wait_until(lambda: all(cpu_s(pid) > 0.1 for pid in burners))
    assert not any(is_there(pid) for pid in burners)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_they_end_when_what_was_measured_fails(error: type[BaseException]) -> None:
    with pytest.raises(error), cpu_load(1, settle_s=0.0) as burners:
        raise error
    assert not any(is_there(pid) for pid in burners)


def test_they_end_by_themselves_when_nobody_is_left_to_end_them() -> None:
    program = (
        "import time\nfrom edge_wm.profile.cpu_load import cpu_load\n"
        "with cpu_load(2, settle_s=0.0) as burners:\n    print(*burners, flush=True)\n    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    burners = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(burners) == 2 and all(is_there(pid) for pid in burners)
    parent.kill()
    parent.communicate()
    assert wait_until(lambda: not any(is_there(pid) for pid in burners))
