"""What a signer that is no file says."""

from __future__ import annotations

import subprocess
import sys


def test_what_a_key_service_logs_is_not_printed_beside_the_refusal() -> None:
    script = (
        "import logging, edge_wm.publish.keys; logging.getLogger('securesystemslib.signer').error('said')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
