"""Noise and mutated frames for both ends of the serial line: nothing crashes, no bad frame is taken, and one good frame later all is well.

Run it with ``make fuzz``; ``QUICK=1`` is some seconds of it and records nothing.  The firmware's parser, and the firmware as a whole, are given
to libFuzzer with the address and undefined-behaviour sanitizers; ``firmware_bridge/firmware/fuzz/`` says what must hold.  The codec in Python
is given streams of which every byte is known to have been sent so or spoiled, and must find the same frames in them as the parser in C.
Then the same again with mistakes of ours in the C sources, each of which must be found.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from benchmarks.fuzz_codec import codec, codec_us, drawn_message
from benchmarks.timing import record
from firmware_bridge.framing import encode
from firmware_bridge.simulator.avr_bench import FIRMWARE
from firmware_bridge.wire import LAYOUTS, PROTOCOL, Arm, Hello, Poll
from tests.firmware_bridge.core import STRICT

SANITIZERS = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
TARGETS = {"frames": 50_000_000, "controller": 50_000_000}
"""Bytes that each harness of ``firmware_bridge/firmware/fuzz`` is given."""
PYTHON_BYTES = 5_000_000
QUICK = 50
"""By how much the short form is shorter."""
INPUT_BYTES = 1_024
"""Longest input of libFuzzer."""
KEPT = Path("build/fuzz")
"""Where an input is kept that something was found with."""
FINDINGS = {
    "accepted_bad": r"^FUZZ accepted a bad frame: .*",
    "failed": r"^FUZZ failed: .*",
    "crashes": r"^.*(?:ERROR: \w+Sanitizer|ERROR: libFuzzer|runtime error): .*",
}
"""What libFuzzer's output says, first come first served, and how it is counted."""


class Control(NamedTuple):
    """A mistake that must be found, or the search is worth nothing.

    Attributes:
        target: the harness that must find it.
        file: of the core.
        was: in it.
        now: instead.
        finding: what it must be counted as.
    """

    target: str
    file: str
    was: str
    now: str
    finding: str


CONTROLS = {
    "the checksum is not compared": Control(
        "frames", "frame.c", "frame_checksum(reader->bytes, covered) ==", "true ||", "accepted_bad"
    ),
    "a frame may be too long": Control(
        "frames", "frame.c", "reader->size < FRAME_MAX_DECODED", "true", "crashes"
    ),
    "the end of a frame that is too long gets lost": Control(
        "frames", "frame.c", "reader->broken = true;", "", "accepted_bad"
    ),
    "the reader forgets to begin anew": Control("frames", "frame.c", "reader->broken = false;", "", "failed"),
    "a request may have any size": Control(
        "controller",
        "controller.c",
        "controller->frame.size == size_of(controller->frame.type)",
        "true",
        "accepted_bad",
    ),
    "a robot that is not armed has power": Control(
        "controller", "controller.c", "controller->safety.state != STATE_ARMED", "false", "failed"
    ),
    "no deadman": Control("controller", "safety.c", "latch(safety, FAULT_DEADMAN);", "", "failed"),
}


class Found(NamedTuple):
    """What a harness said.

    Attributes:
        counts: how many bytes it was given, and what became of them.
        finding: one of `FINDINGS`, or empty.
        line: that says so.
    """

    counts: Counter[str]
    finding: str
    line: str


def main() -> None:
    """Do it all, print, record.  Exit code 1 if anything was found, or a control was not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a fiftieth, recorded nowhere")
    options = parser.parse_args()
    share = QUICK if options.quick else 1
    if shutil.which("clang") is None:
        sys.exit("error: no clang: run  sudo apt install clang libclang-rt-dev")
    facts: dict[str, Any] = {"seed": options.seed}
    found: Counter[str] = Counter()
    for target, wanted in TARGETS.items():
        result = harness(target, wanted // share, options.seed)
        facts[target] = {"bytes": 0, "wrong_checksum": 0, **result.counts}
        found[result.finding] += bool(result.finding)
        print(f"{target}: {_told(result.counts)} {result.line}")
    python = codec(PYTHON_BYTES // share, options.seed, options.jobs)
    print(f"python: {_told(python)}")
    for what in ("accepted_bad", "failed", "crashes"):
        found[what] += python[what]
    facts["codec"] = dict(python)
    facts["controls"] = {what: control_is_found(control, options.seed) for what, control in CONTROLS.items()}
    missed = [what for what, is_found in facts["controls"].items() if not is_found]
    for what in missed:
        print(f"not found: {what}")
    facts["expected_by_chance"] = facts["frames"]["wrong_checksum"] / 2**32
    facts["codec_us"] = codec_us()
    if not options.quick:
        record("fuzz", facts)
    c_bytes = sum(facts[target]["bytes"] for target in TARGETS)
    print(
        f"RESULT c_bytes={c_bytes} python_bytes={python['bytes']} crashes={found['crashes']} "
        f"accepted_bad={found['accepted_bad']} failed={found['failed']} "
        f"controls={len(CONTROLS) - len(missed)}/{len(CONTROLS)} codec_us={facts['codec_us']:.1f}"
    )
    sys.exit(bool(missed) or any(found[what] for what in FINDINGS))


# --- the firmware, by libFuzzer ------------------------------------------------------------------------------------------


def control_is_found(control: Control, seed: int) -> bool:
    """Whether the harness finds the mistake, and takes it for what it is."""
    return harness(control.target, 5_000_000, seed, control).finding == control.finding


def harness(target: str, wanted: int, seed: int, control: Control | None = None) -> Found:
    """Give a harness at least so many bytes, or until it finds something."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = _built(target, folder, control)
        (folder / "corpus").mkdir()
        for number, seeded in enumerate(SEEDS[target]()):
            (folder / "corpus" / f"seed{number}").write_bytes(seeded)
        while counts["bytes"] < wanted:
            # About 400 bytes an input.
            runs = max(500, (wanted - counts["bytes"]) // 400)
            limits = [
                f"-runs={runs}",
                f"-max_len={INPUT_BYTES}",
                "-len_control=0",
                "-timeout=20",
                f"-seed={seed}",
            ]
            command = [str(program), *limits, f"-artifact_prefix={folder}/", str(folder / "corpus")]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
            said = re.search(r"^FUZZ (bytes=.*)", done.stdout, re.MULTILINE)
            for count, number in re.findall(r"(\w+)=(\d+)", said[1] if said else ""):
                counts[count] += int(number)
            if done.returncode != 0:
                finding, line = _finding(done.stderr)
                if control is None:
                    line += f"; the input is in {_kept(folder, target)}"
                return Found(counts, finding, line)
            if said is None:
                sys.exit(f"error: the harness {target} did not count: {done.stderr[-300:]}")
            seed += 1
    return Found(counts, "", "")


def _built(target: str, folder: Path, control: Control | None) -> Path:
    shutil.copytree(FIRMWARE / "core", folder / "core")
    if control is not None:
        file = folder / "core" / control.file
        source = file.read_text()
        if source.count(control.was) != 1:
            sys.exit(f"error: {control.file} does not say once: {control.was}")
        file.write_text(source.replace(control.was, control.now))
    sources = [
        *(folder / "core").glob("*.c"),
        FIRMWARE / "fuzz" / "oracle.c",
        FIRMWARE / "fuzz" / f"{target}.c",
    ]
    # What a mistake of ours leaves unused is no error.
    warnings = STRICT if control is None else ("-w",)
    command = ["clang", "-std=c11", "-O1", "-g", *SANITIZERS, *warnings, f"-I{folder / 'core'}"]
    command += [*map(str, sources), "-o", str(folder / target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: {target} does not compile (sudo apt install clang libclang-rt-dev): {done.stderr}")
    return folder / target


def _told(counts: Mapping[str, int]) -> str:
    return " ".join(f"{what}={number:,}" for what, number in counts.items())


def _finding(output: str) -> tuple[str, str]:
    for finding, pattern in FINDINGS.items():
        if match := re.search(pattern, output, re.MULTILINE):
            return finding, match[0]
    return "crashes", "it ended without a word: " + output[-200:]


def _kept(folder: Path, target: str) -> Path | str:
    for artifact in sorted([*folder.glob("crash-*"), *folder.glob("timeout-*")]):
        KEPT.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(artifact, KEPT / f"{target}-{artifact.name}"))
    return "none"


def _frames_to_start_with() -> Iterator[bytes]:
    random = Random(0)
    for kind in LAYOUTS:
        yield encode(drawn_message(random, kind), 7)
    yield b"".join(encode(drawn_message(random, kind), kind) for kind in LAYOUTS)


def _stories_to_start_with() -> Iterator[bytes]:
    """Steps as ``controller.c`` reads them."""
    clock = bytes(4)
    hello, arm, drive, silence = bytes([6, 0]), bytes([6, 1]), bytes([6, 2, 50, 10]), bytes([5 + 8 * 20])
    for first in range(8):  # with encoders and without, the right way round and not
        yield bytes([first]) + clock + hello + arm + (drive + bytes([5 + 8 * 2])) * 20 + silence * 3
        yield bytes([first]) + b"\x00\x00\xfe\xff" + hello + arm + (drive + silence) * 5
    line = encode(Hello(PROTOCOL), 1) + encode(Arm(1), 2) + encode(Poll(), 3)
    yield b"\x00" + clock + b"".join(bytes([8 * 7]) + line[at : at + 21] for at in range(0, len(line), 21))


SEEDS = {"frames": _frames_to_start_with, "controller": _stories_to_start_with}


if __name__ == "__main__":
    main()
