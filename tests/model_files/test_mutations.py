"""Mutated bundles are the same every time, are no sound ones, and are not refused because of their hashes."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.manifest import MANIFEST_NAME
from edge_wm.errors import BadInput
from tests.model_files import mutated_flat, mutated_wire, mutations
from tests.model_files.campaign import written
from tests.model_files.few_seeds import few_seeds
from tests.model_files.mutations import files, mutant
from tests.model_files.seeds import Seeds

COUNT = 400


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    warnings.simplefilter("ignore")  # of zipfile, about names that are there twice
    return few_seeds(tmp_path_factory.mktemp("seeds"))


def test_a_number_makes_the_same_file_every_time(seeds: Seeds, tmp_path: Path) -> None:
    again = few_seeds(tmp_path)
    for number in range(COUNT):
        assert mutant(number, seeds) == mutant(number, again)


def test_every_mutant_is_another_file_and_none_is_sound(seeds: Seeds) -> None:
    made = [mutant(number, seeds) for number in range(COUNT)]
    for one in made:
        assert one.data != seeds.templates[one.template].files[one.file]
    assert len({one.data for one in made}) > 0.95 * COUNT


def test_another_campaign_makes_other_files(seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    before = mutant(5, seeds)
    monkeypatch.setattr(mutations, "SEED", "another")
    assert mutant(5, seeds).data != before.data


def test_the_manifest_vouches_for_what_was_changed(seeds: Seeds) -> None:
    for number in range(COUNT):
        made = mutant(number, seeds)
        changed = files(seeds.templates[made.template], made.file, made.data)
        assert changed[made.file] == made.data
        if made.file == MANIFEST_NAME:
            continue
        told = msgspec.json.decode(changed[MANIFEST_NAME])["files"]
        entry = next(entry for entry in told if entry["path"] == made.file)
        assert (entry["size"], entry["sha256"]) == (len(made.data), hashlib.sha256(made.data).hexdigest())


def test_a_good_part_passes_the_guard_and_none_is_refused_for_its_hash(seeds: Seeds, tmp_path: Path) -> None:
    ends: Counter[str] = Counter()
    for number in range(COUNT // 2):
        made = mutant(number, seeds)
        written(seeds.templates[made.template], made, tmp_path)
        try:
            load_bundle(tmp_path)
            ends["passed"] += 1
        except BadInput as refusal:
            ends["refused"] += 1
            assert made.file == MANIFEST_NAME or "SHA-256" not in str(refusal)
        for file in tmp_path.iterdir():
            file.unlink()
    assert 0.15 < ends["passed"] / sum(ends.values()) < 0.85


def test_both_formats_and_all_ways_are_taken(seeds: Seeds) -> None:
    made = [mutant(number, seeds) for number in range(5 * COUNT)]
    formats = Counter(one.format for one in made)
    assert min(formats.values()) >= 0.3 * len(made)
    assert {one.way for one in made} == {*mutations.WAYS, *mutations.FILES}


def test_a_protobuf_that_is_read_field_by_field_is_the_same_when_it_is_written() -> None:
    from tests.blind_model import observe_graph

    data = observe_graph().SerializeToString()
    assert b"".join(map(mutated_wire._written, mutated_wire._parts(data, "MODEL"))) == data


def test_the_places_of_a_flatbuffer_hold_what_they_say() -> None:
    from tests.model_files.tflite_seeds import observe_graph
    from tests.tiny_tflite import model, pack

    data = pack(model(observe_graph()))
    places = {place.what: place for place in mutated_flat._places(data)}
    assert data[places["MODEL.version"].at] == 3
    assert data[places["length of SUBGRAPH.inputs"].at] == 7
    assert {"TENSOR.shape", "OPERATOR.inputs", "entry of a vtable", "BUFFER.data"} <= places.keys()
