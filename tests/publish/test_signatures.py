from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar

import pytest
from securesystemslib.signer import (
    SIGNER_FOR_URI_SCHEME,
    CryptoSigner,
    Key,
    SecretsHandler,
    Signature,
    Signer,
)

from edge_wm.errors import BadInput
from edge_wm.publish.keys import SHOWN
from edge_wm.publish.publisher import Outcome, open_publisher
from edge_wm.publish.rotate import drop_waiting, sign_waiting
from edge_wm.publish.status import read_status
from tests.publish.repositories import KIND, Keeper, Robot, bundle


def sign(keeper: Keeper, role: str, copy: Path | None = None) -> tuple[int, Outcome]:
    with open_publisher(keeper.access, resume=copy is None) as publisher:
        return sign_waiting(publisher, role, copy)


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    """Two of the two keys of the robot kind must sign; one of them is elsewhere."""
    keeper = Keeper(tmp_path / "repo")
    keeper.init(differential_drive=(2, 2))
    first = sorted(keeper.folders.private.glob(f"{KIND}-*.pem"))[0]
    keeper.take_away(first.name, tmp_path / "stick")
    return keeper


def test_a_command_needs_only_the_keys_of_what_it_changes(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "repo")
    keeper.init()
    keeper.take_away("root-*.pem", tmp_path / "safe")
    keeper.take_away("targets-*.pem", tmp_path / "safe")
    keeper.publish(bundle(tmp_path / "one"))
    keeper.take_away(f"{KIND}-*.pem", tmp_path / "safe")
    assert keeper.refresh().published == {"timestamp": 3}
    with pytest.raises(BadInput, match="root: none of its keys is here"):
        keeper.rotate("timestamp")
    with pytest.raises(BadInput, match="targets: none of its keys is here"):
        keeper.rotate(KIND)


def test_a_missing_key_is_named_with_where_it_was_looked_for(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "repo")
    keeper.init()
    (gone,) = keeper.take_away(f"{KIND}-*.pem", tmp_path / "safe")
    keeper.key_folders = (tmp_path / "stick",)
    keyid = gone.stem.rpartition("-")[2]
    looked = f"no {gone.name} in {keeper.folders.private}, {tmp_path / 'stick'}"
    with pytest.raises(
        BadInput, match=f"{KIND}: none of its keys is here: key {keyid} \\({looked}\\)"
    ) as refusal:
        keeper.publish(bundle(tmp_path / "one"))
    assert "\n" not in str(refusal.value)
    keeper.key_folders = (tmp_path / "safe",)
    assert keeper.publish(tmp_path / "one").outcome.published[KIND] == 2


def test_what_has_too_few_signatures_waits_and_readers_see_nothing_of_it(
    tmp_path: Path, keeper: Keeper
) -> None:
    before = {p.name: p.read_bytes() for p in keeper.folders.metadata.iterdir()}
    outcome = keeper.publish(bundle(tmp_path / "one")).outcome
    assert not outcome.published
    (line,) = outcome.waiting
    (key,) = (tmp_path / "stick").iterdir()
    assert line.startswith(f"{KIND} 2: waits for 1 more signature, of key {key.stem.rpartition('-')[2]}")
    assert before == {p.name: p.read_bytes() for p in keeper.folders.metadata.iterdir()}
    assert not Robot(keeper.folders.public, tmp_path / "robot").channel().releases
    (waiting,) = read_status(keeper.access).waiting
    assert (waiting.role, waiting.version, waiting.lacks) == (KIND, 2, 1)


def test_the_signature_that_was_missing_publishes_it(tmp_path: Path, keeper: Keeper) -> None:
    keeper.publish(bundle(tmp_path / "one"))
    assert sign(keeper, KIND)[0] == 0
    keeper.key_folders = (tmp_path / "stick",)
    added, outcome = sign(keeper, KIND)
    assert (added, outcome.published[KIND], outcome.waiting) == (1, 2, [])
    assert len(Robot(keeper.folders.public, tmp_path / "robot").channel().releases) == 1
    assert [path.name for path in keeper.folders.pending.iterdir()] == ["index.json"]


def test_another_keeper_signs_a_copy_on_another_machine(tmp_path: Path, keeper: Keeper) -> None:
    keeper.publish(bundle(tmp_path / "one"))
    (waiting,) = keeper.folders.pending.glob("2.*.json")
    other = Keeper(tmp_path / "elsewhere")
    other.folders.make()
    shutil.copytree(keeper.folders.metadata, other.folders.metadata, dirs_exist_ok=True)
    for path in (keeper.folders.settings, keeper.folders.trusted_root):
        shutil.copy(path, other.folders.private)
    other.key_folders = (tmp_path / "stick",)
    added, outcome = sign(other, KIND, waiting)
    assert added == 2 and not outcome.published  # the online keys are not there
    assert "waits for edge-wm update refresh where the online keys are" in outcome.waiting[0]
    added, outcome = sign(keeper, KIND, other.folders.pending / waiting.name)
    assert (added, outcome.published[KIND]) == (1, 2)


def test_a_copy_of_something_else_is_not_taken_in(tmp_path: Path, keeper: Keeper) -> None:
    keeper.publish(bundle(tmp_path / "one"))
    with pytest.raises(BadInput, match="not a copy of what waits"):
        sign(keeper, KIND, keeper.folders.metadata / f"1.{KIND}.json")


def test_a_forged_signature_on_a_copy_counts_for_nothing(tmp_path: Path, keeper: Keeper) -> None:
    from edge_wm.publish.published import parse

    keeper.publish(bundle(tmp_path / "one"))
    (waiting,) = keeper.folders.pending.glob("2.*.json")
    copy = parse(waiting.read_bytes(), KIND, waiting)
    (missing,) = read_status(keeper.access).waiting
    with open_publisher(keeper.access) as publisher:
        delegated = publisher.published.roles["targets"].signed.get_delegated_role(KIND)
    for keyid in delegated.keyids:
        copy.signatures.setdefault(keyid, Signature(keyid, "00" * 64))
    (tmp_path / "copy.json").write_bytes(copy.to_bytes())
    added, outcome = sign(keeper, KIND, tmp_path / "copy.json")
    assert (added, dict(outcome.published)) == (0, {}) and len(outcome.waiting) == missing.lacks


def test_the_next_change_of_a_role_must_wait_until_the_first_is_signed_or_dropped(
    tmp_path: Path, keeper: Keeper
) -> None:
    keeper.publish(bundle(tmp_path / "one"))
    two = bundle(tmp_path / "two", "0.2.0")
    with pytest.raises(BadInput, match=r"2\.differential-drive\.json: a change waits already"):
        keeper.publish(two)
    assert len(drop_waiting(keeper.access, KIND)) == 1
    keeper.key_folders = (tmp_path / "stick",)
    assert keeper.publish(two).outcome.published[KIND] == 2
    with pytest.raises(BadInput, match="no metadata of it waits"):
        drop_waiting(keeper.access, KIND)


def test_without_the_online_keys_it_is_signed_and_waits_for_the_machine_that_has_them(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "repo")
    keeper.init()
    online = keeper.take_away("snapshot-*.pem", tmp_path / "server")
    outcome = keeper.publish(bundle(tmp_path / "one")).outcome
    assert not outcome.published
    assert online[0].name in outcome.waiting[0]
    assert not Robot(keeper.folders.public, tmp_path / "a").channel().releases
    keeper.key_folders = (tmp_path / "server",)
    assert keeper.refresh().published["timestamp"] == 3
    assert len(Robot(keeper.folders.public, tmp_path / "b").channel().releases) == 1


def test_a_repository_whose_root_is_signed_in_three_places(tmp_path: Path) -> None:
    """The first machine has one of three root keys, and the public halves of the others."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    from edge_wm.publish.keys import make_key

    others = []
    for name in ("ann", "bob"):
        folder = tmp_path / name
        folder.mkdir()
        key = make_key("root", folder)
        (pem,) = folder.glob("*.pem")
        public = load_pem_private_key(pem.read_bytes(), None).public_key()
        (folder / "public").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        others.append(f"{key.uri},{folder / 'public'}")
    keeper = Keeper(tmp_path / "repo")
    outcome = keeper.init(source=keeper.source({"root": others}))
    assert not outcome.published and any(
        line.startswith("root 1: waits for 1 more") for line in outcome.waiting
    )
    with pytest.raises(BadInput, match="not complete yet: root 1: waits for 1 more signature"):
        keeper.publish(bundle(tmp_path / "one"))
    state = read_status(keeper.access)
    assert not state.is_well and {waiting.role: waiting.lacks for waiting in state.waiting}["root"] == 1
    keeper.key_folders = (tmp_path / "bob",)
    assert sign(keeper, "root")[1].published["root"] == 1
    keeper.publish(tmp_path / "one")
    assert len(Robot(keeper.folders.public, tmp_path / "robot").channel().releases) == 1


def test_another_key_under_the_name_of_the_right_one_is_refused(tmp_path: Path) -> None:
    keeper, other = Keeper(tmp_path / "repo"), Keeper(tmp_path / "other")
    keeper.init()
    other.init()
    (mine,) = keeper.folders.private.glob("timestamp-*.pem")
    (theirs,) = other.folders.private.glob("timestamp-*.pem")
    mine.write_bytes(theirs.read_bytes())
    with pytest.raises(BadInput, match=f"not the key {mine.stem.rpartition('-')[2][:SHOWN]}"):
        keeper.refresh()
    mine.write_text("nothing")
    with pytest.raises(BadInput, match="cannot be read as a key"):
        keeper.refresh()


def test_a_key_service_that_cannot_be_reached_is_a_key_that_is_not_here(tmp_path: Path) -> None:
    """Stands for every signer of securesystemslib but files: which of them works is theirs to say."""
    keeper = Keeper(tmp_path / "repo")
    keeper.init()
    text = keeper.folders.settings.read_text()
    (key,) = keeper.folders.private.glob("timestamp-*.pem")
    keeper.folders.settings.write_text(text.replace(f"file2:{key.name}", "gcpkms:projects/p/keys/1"))
    with pytest.raises(
        BadInput, match=r"timestamp: none of its keys is here: key .* \(gcpkms:projects/p/keys/1: "
    ):
        keeper.refresh()


class Token(Signer):
    """A hardware token: whether it is plugged in shows when it is to sign.  It holds the key file that its URI names."""

    plugged: ClassVar[set[Path]] = set()

    def __init__(self, file: Path, key: Key) -> None:
        self._file, self._key = file, key

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Token:
        return cls(Path(priv_key_uri.removeprefix("token:")), public_key)

    @property
    def public_key(self) -> Key:
        return self._key

    def sign(self, payload: bytes) -> Signature:
        if self._file not in self.plugged:
            raise OSError("no token\nis plugged in")
        return CryptoSigner.from_priv_key_uri(f"file2:{self._file}", self._key).sign(payload)


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Keeper, list[Path]]:
    """Two of three tokens must sign for the robot kind; none is plugged in."""
    monkeypatch.setitem(SIGNER_FOR_URI_SCHEME, "token", Token)
    monkeypatch.setattr(Token, "plugged", set())
    keeper = Keeper(tmp_path / "repo")
    keeper.init(differential_drive=(2, 3))
    files = keeper.take_away(f"{KIND}-*.pem", tmp_path / "safe")
    text = keeper.folders.settings.read_text()
    for file in files:
        text = text.replace(f"file2:{file.name}", f"token:{file}")
    keeper.folders.settings.write_text(text)
    return keeper, files


def test_tokens_sign_one_after_the_other(tmp_path: Path, tokens: tuple[Keeper, list[Path]]) -> None:
    keeper, files = tokens
    Token.plugged = {files[1]}
    outcome = keeper.publish(bundle(tmp_path / "one")).outcome
    assert not outcome.published
    (line,) = outcome.waiting
    assert line.startswith(f"{KIND} 2: waits for 1 more signature, of key ")
    for missing in (files[0], files[2]):
        assert f"(token:{missing}: no token is plugged in)" in line
    Token.plugged = set()
    assert sign(keeper, KIND)[0] == 0
    Token.plugged = {files[2]}
    added, outcome = sign(keeper, KIND)
    assert (added, outcome.published[KIND], outcome.waiting) == (1, 2, [])
    assert len(Robot(keeper.folders.public, tmp_path / "robot").channel().releases) == 1


def test_enough_tokens_are_enough(tmp_path: Path, tokens: tuple[Keeper, list[Path]]) -> None:
    keeper, files = tokens
    Token.plugged = set(files[1:])
    assert keeper.publish(bundle(tmp_path / "one")).outcome.published[KIND] == 2


def test_a_command_that_no_token_signs_says_which_there_are(
    tmp_path: Path, tokens: tuple[Keeper, list[Path]]
) -> None:
    keeper, files = tokens
    with pytest.raises(BadInput, match=f"{KIND}: none of its keys is here: ") as refusal:
        keeper.publish(bundle(tmp_path / "one"))
    assert all(f"token:{file}: no token is plugged in" in str(refusal.value) for file in files)
    assert not list(keeper.folders.pending.glob("2.*.json"))


def test_of_a_token_nobody_knows_whether_it_is_here_before_it_signs(
    tokens: tuple[Keeper, list[Path]],
) -> None:
    keeper, _ = tokens
    here = {role.role: {key.here for key in role.keys} for role in read_status(keeper.access).roles}
    assert (here[KIND], here["timestamp"]) == ({None}, {True})
