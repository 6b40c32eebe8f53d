"""Loading refuses anything that is not exactly what the manifest says, with one line that names the file."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_wm.bundle import load
from edge_wm.bundle.load import MAX_FILE_BYTES, Bundle, array_from_npy, check_path, load_bundle
from edge_wm.bundle.manifest import DType, StateTensor
from edge_wm.errors import BadInput
from tests.tiny_model import (
    START,
    files,
    manifest,
    npy,
    read_manifest,
    replace_file,
    write_manifest,
    write_tiny,
)


@pytest.fixture
def bundle_dir(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny")


def refusal(directory: Path) -> str:
    with pytest.raises(BadInput) as caught:
        load_bundle(directory)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_sound_bundle_loads(bundle_dir: Path) -> None:
    bundle = load_bundle(bundle_dir)
    assert bundle.manifest.name == "tiny"
    assert len(bundle.sha256) == 64
    assert bundle.graphs["imagine.fp32.onnx"].operators["Add"] == 2


def test_of_a_bundle_that_is_not_loaded_as_a_whole_the_guard_looks_at_what_is_read(bundle_dir: Path) -> None:
    replace_file(bundle_dir, "imagine.fp32.onnx", b"no graph")
    assert "imagine.fp32.onnx" in refusal(bundle_dir)  # as a whole it is refused at once
    bundle = load_bundle(bundle_dir, whole=False)
    assert bundle.graphs == {}
    assert bundle.read("observe.fp32.onnx") == files()["observe.fp32.onnx"]
    assert bundle.graphs.keys() == {"observe.fp32.onnx"}
    for _ in range(2):
        with pytest.raises(BadInput, match=r"imagine\.fp32\.onnx"):
            bundle.read("imagine.fp32.onnx")


def test_the_bytes_that_were_hashed_are_kept(bundle_dir: Path) -> None:
    bundle = load_bundle(bundle_dir)
    (bundle_dir / "observe.fp32.onnx").write_bytes(b"changed after loading")
    assert bundle.read("observe.fp32.onnx") == files()["observe.fp32.onnx"]


def test_only_what_is_asked_for_is_kept_but_everything_is_checked(bundle_dir: Path) -> None:
    bundle = load_bundle(bundle_dir, roles=("observe",), golden=False)
    assert bundle.keeps("observe.fp32.onnx")
    assert not bundle.keeps("imagine.fp32.onnx") and not bundle.keeps("golden.npz")
    (bundle_dir / "imagine.fp32.onnx").write_bytes(files()["imagine.fp32.onnx"][:-1] + b"\x00")
    with pytest.raises(BadInput, match="imagine"):
        load_bundle(bundle_dir, roles=("observe",), golden=False)


def test_the_initial_state_is_a_new_copy_each_time(bundle_dir: Path) -> None:
    bundle = load_bundle(bundle_dir)
    first, second = bundle.initial_state(), bundle.initial_state()
    np.testing.assert_array_equal(first["memory"], np.full(5, 0.5, np.float32))
    np.testing.assert_array_equal(first["pose"], START)
    first["pose"][:] = 9.0
    first["memory"][:] = 9.0
    np.testing.assert_array_equal(second["pose"], START)
    np.testing.assert_array_equal(bundle.initial_state()["memory"], second["memory"])


def missing(directory: Path) -> None:
    (directory / "observe.fp32.onnx").unlink()


def truncated(directory: Path) -> None:
    path = directory / "observe.fp32.onnx"
    path.write_bytes(path.read_bytes()[:-10])


def longer(directory: Path) -> None:
    with (directory / "observe.fp32.onnx").open("ab") as file:
        file.write(b"x")


def altered(directory: Path) -> None:
    path = directory / "observe.fp32.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def linked(directory: Path) -> None:
    path = directory / "observe.fp32.onnx"
    shutil.move(path, directory.parent / "elsewhere")
    path.symlink_to(directory.parent / "elsewhere")


def linked_folder(directory: Path) -> None:
    (directory / "sub").symlink_to(directory.parent)


def a_fifo(directory: Path) -> None:
    (directory / "observe.fp32.onnx").unlink()
    os.mkfifo(directory / "observe.fp32.onnx")


def a_folder(directory: Path) -> None:
    (directory / "observe.fp32.onnx").unlink()
    (directory / "observe.fp32.onnx").mkdir()


def unlisted(directory: Path) -> None:
    (directory / "observe.fp32.onnx.data").write_bytes(b"weights")


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a missing graph": (missing, "observe.fp32.onnx: No such file"),
    "a truncated graph": (truncated, "bytes, the manifest says"),
    "a longer graph": (longer, "larger than"),
    "an altered graph": (altered, "SHA-256 differs"),
    "a graph behind a link": (linked, "a symbolic link"),
    "a folder behind a link": (linked_folder, "sub: a symbolic link"),
    "a FIFO in place of a graph": (a_fifo, "not a regular file"),
    "a folder in place of a graph": (a_folder, "observe.fp32.onnx: Is a directory"),
    "a file that is not listed": (unlisted, "observe.fp32.onnx.data: not listed"),
    "no manifest": (lambda directory: (directory / "manifest.json").unlink(), "manifest.json: No such file"),
    "a large manifest": (
        lambda directory: (directory / "manifest.json").write_bytes(b" " * 2**21),
        "larger than",
    ),
    "no directory": (shutil.rmtree, "no such bundle directory"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_it_refuses(case: str, bundle_dir: Path) -> None:
    damage, named = DAMAGE[case]
    damage(bundle_dir)
    assert named in refusal(bundle_dir)


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "/etc/passwd",
        "a/../../x",
        "./x",
        "a//b",
        "",
        ".hidden",
        "a/.git/x",
        "a\\b",
        "a\nb",
        "a/b/c/d/e",
        "x\x00",
        "é",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(path: str, bundle_dir: Path) -> None:
    facts = read_manifest(bundle_dir)
    facts["files"].append({"path": path, "size": 0, "sha256": "0" * 64})
    write_manifest(bundle_dir, facts)
    assert refusal(bundle_dir).startswith(f"{bundle_dir}/manifest.json: ")
    with pytest.raises(BadInput):
        check_path(path, "bundle")


def test_plain_paths_are_accepted() -> None:
    for path in ("observe.int8.onnx", "graphs/observe.onnx", "MODEL_CARD.md", "a/b/c/d"):
        check_path(path, "bundle")


def test_a_file_is_bounded_before_it_is_read(bundle_dir: Path) -> None:
    facts = read_manifest(bundle_dir)
    for size, named in ((MAX_FILE_BYTES, "the manifest says"), (MAX_FILE_BYTES + 1, "larger than 256 MiB")):
        facts["files"][0]["size"] = size
        write_manifest(bundle_dir, facts)
        assert named in refusal(bundle_dir)


def test_a_bundle_and_its_manifest_are_bounded(bundle_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bound, has in (
        ("MAX_BUNDLE_BYTES", sum(len(data) for data in files().values())),
        ("MAX_MANIFEST_BYTES", (bundle_dir / "manifest.json").stat().st_size),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(load, bound, has)
            load_bundle(bundle_dir)
            patch.setattr(load, bound, has - 1)
            refusal(bundle_dir)


@pytest.mark.parametrize(
    ("array", "named"),
    [
        (START.astype(np.float64), "float64"),
        (START[:2], "[2]"),
        (np.array([{"a": 1}] * 3, dtype=object), "not a readable array"),
        (START.astype(">f4"), "not plain numbers"),
        (START * np.float32(np.nan), "NaN or infinity"),
    ],
)
def test_initial_values_must_fit_the_state(array: np.ndarray, named: str, bundle_dir: Path) -> None:
    replace_file(bundle_dir, "initial_pose.npy", npy(array))
    message = refusal(bundle_dir)
    assert "initial_pose.npy" in message and named in message


@pytest.mark.parametrize(
    ("dtype", "value", "fits"),
    [
        ("uint8", 255, True),
        ("uint8", 256, False),
        ("uint8", -1, False),
        ("int8", 0.5, False),
        ("int64", 1e30, False),
        ("bool", 1, True),
        ("bool", 2, False),
        ("float16", 65504, True),
        ("float16", 1e30, False),
        ("float32", 1e30, True),
    ],
)
def test_a_number_to_start_from_must_be_one_that_the_dtype_can_hold(
    dtype: DType, value: float, fits: bool, tmp_path: Path
) -> None:
    tensor = StateTensor("memory", (5,), dtype, value)
    bundle = Bundle(tmp_path, msgspec.structs.replace(manifest(), state=(tensor,)), "", {}, {})
    if fits:
        np.testing.assert_array_equal(bundle.initial_state()["memory"], np.full(5, value, dtype))
    else:
        with pytest.raises(
            BadInput, match=rf"manifest\.json: state memory starts as .*, which {dtype} cannot"
        ):
            bundle.initial_state()


def test_folders_are_listed_by_what_is_in_them(bundle_dir: Path) -> None:
    (bundle_dir / "graphs" / "old").mkdir(parents=True)
    assert "graphs: not listed" in refusal(bundle_dir)
    facts = read_manifest(bundle_dir)
    facts["files"].append({"path": "graphs/old/notes.txt", "size": 0, "sha256": hashlib.sha256().hexdigest()})
    write_manifest(bundle_dir, facts)
    (bundle_dir / "graphs" / "old" / "notes.txt").touch()
    load_bundle(bundle_dir)


def test_folders_nested_beyond_what_a_path_can_name_are_refused(bundle_dir: Path) -> None:
    before = Path.cwd()
    os.chdir(bundle_dir)
    try:
        for _ in range(3000):
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(before)
    try:
        assert "tiny/d: not listed" in refusal(bundle_dir)
    finally:
        subprocess.run(["rm", "-r", bundle_dir / "d"], check=True)  # Python cannot descend so far


def test_what_is_wrong_with_a_graph_is_told_with_its_whole_path(bundle_dir: Path) -> None:
    replace_file(bundle_dir, "observe.fp32.onnx", b"not onnx")
    assert refusal(bundle_dir).startswith(f"{bundle_dir}/observe.fp32.onnx: ")


def test_a_graph_that_a_bundle_does_not_have_is_told_with_those_it_has(bundle_dir: Path) -> None:
    bundle = load_bundle(bundle_dir)
    assert bundle.graph("observe", "fp32").file == "observe.fp32.onnx"
    with pytest.raises(BadInput, match=r"/tiny: no int8 onnx graph for observe \(this bundle has: fp32\)"):
        bundle.graph("observe", "int8")


def test_an_array_header_that_promises_more_than_there_is_allocates_nothing() -> None:
    data = npy(START)
    assert array_from_npy(data, "x").tolist() == START.tolist()
    with pytest.raises(BadInput, match="does not match the data"):
        array_from_npy(data.replace(b"(3,)", b"(16000000,)"), "x")


@given(st.binary(max_size=300))
def test_random_bytes_are_no_array(tail: bytes) -> None:
    for data in (tail, b"\x93NUMPY\x01\x00" + tail, npy(START)[: len(tail)]):
        with pytest.raises(BadInput):
            array_from_npy(data, "x")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_bundle_truncated_anywhere_is_refused(bundle_dir: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(path.name for path in bundle_dir.iterdir())))
    path = bundle_dir / name
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 2))  # the manifest's last byte is only its newline
    try:
        path.write_bytes(whole[:cut])
        assert name in refusal(bundle_dir)
    finally:
        path.write_bytes(whole)
    load_bundle(bundle_dir)
