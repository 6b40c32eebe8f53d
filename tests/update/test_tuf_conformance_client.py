"""The command-line form behaves as public conformance suites ask.  Most of what they check is in here, in this project's words."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote

import pytest
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, Targets

from tests.attacks.hostile_server import HostileServer
from tests.update import tuf_conformance_client
from tests.update.tuf_repository import TufRepository, new_key

KIND = "rover"
ROLES = ("root", "timestamp", "snapshot", "targets")
TODAY = datetime.now(timezone.utc).replace(microsecond=0)
YESTERDAY = TODAY - timedelta(days=1)


class Client:
    """One client with folders of its own; every method is a command and returns its exit code."""

    def __init__(self, folder: Path, server: HostileServer) -> None:
        self.metadata, self.targets = folder / "client" / "metadata", folder / "client" / "targets"
        self.server = server
        self._folder = folder

    def words(self, *words: object) -> list[str]:
        return [str(word) for word in ("--metadata-dir", self.metadata, *words)]

    def init(self, root: bytes) -> int:
        file = self._folder / "trusted_root.json"
        file.write_bytes(root)
        return tuf_conformance_client.main(self.words("init", file))

    def refresh(self) -> int:
        return tuf_conformance_client.main(
            self.words("--metadata-url", f"{self.server.url}/metadata", "refresh")
        )

    def download(self, target: str) -> int:
        return tuf_conformance_client.main(
            self.words(
                *("--metadata-url", f"{self.server.url}/metadata", "--target-name", target),
                *("--target-base-url", f"{self.server.url}/targets/", "--target-dir", self.targets),
                "download",
            )
        )

    def version(self, role: str) -> int:
        return int(Metadata.from_file(str(self.metadata / f"{role}.json")).signed.version)

    def versions(self) -> list[int]:
        """Of root, timestamp, snapshot and targets."""
        return [self.version(role) for role in ROLES]

    def contents(self) -> list[bytes]:
        """Of all downloaded files."""
        return [file.read_bytes() for file in self.targets.rglob("*") if file.is_file()]


@pytest.fixture
def repository(tmp_path: Path) -> TufRepository:
    return TufRepository(tmp_path / "repository", (KIND,), now=TODAY)


@pytest.fixture
def client(tmp_path: Path, repository: TufRepository) -> Iterator[Client]:
    with HostileServer(lambda: repository.folder) as server:
        made = Client(tmp_path, server)
        assert made.init(repository.root()) == 0
        assert server.asked == []
        yield made


# --- metadata --------------------------------------------------------------------------------------------------------


def test_a_first_refresh_asks_for_each_top_level_role_once_and_in_order(client: Client) -> None:
    assert client.refresh() == 0
    assert client.server.asked == [
        f"/metadata/{name}.json" for name in ("2.root", "timestamp", "1.snapshot", "1.targets")
    ]
    assert client.versions() == [1, 1, 1, 1]
    assert sorted(file.name for file in client.metadata.iterdir()) == sorted(f"{role}.json" for role in ROLES)


def test_a_refresh_without_news_asks_for_the_root_and_the_timestamp_only(client: Client) -> None:
    client.refresh()
    client.server.asked.clear()
    assert client.refresh() == 0
    assert client.server.asked == ["/metadata/2.root.json", "/metadata/timestamp.json"]


def test_a_refresh_takes_all_that_is_new(client: Client, repository: TufRepository) -> None:
    client.refresh()
    for _ in range(3):
        repository.rotate("root")
    repository.publish("targets")
    assert client.refresh() == 0
    assert client.versions() == [4, 2, 2, 2]


@pytest.mark.parametrize("damage", ["empty", "changed"])
def test_a_root_that_cannot_be_trusted_is_refused_before_anything_is_asked(
    client: Client, repository: TufRepository, damage: str
) -> None:
    changed = repository.root().replace(b'"version":1}', b'"version":3}')
    assert changed != repository.root()
    client.init(changed if damage == "changed" else b"")
    assert client.refresh() == 1
    assert client.server.asked == []


def test_a_client_that_was_not_initialised_is_refused(client: Client, tmp_path: Path) -> None:
    client.metadata = tmp_path / "other"
    client.metadata.mkdir()
    assert client.refresh() == 1


@pytest.mark.parametrize(
    ("role", "trusted"),
    [
        ("root", [2, 1, 1, 1]),
        ("timestamp", [1, 1, 1, 1]),
        ("snapshot", [1, 2, 1, 1]),
        ("targets", [1, 2, 2, 1]),
    ],
)
def test_what_comes_before_expired_metadata_is_kept_and_nothing_after_it(
    client: Client, repository: TufRepository, role: str, trusted: list[int]
) -> None:
    client.refresh()
    repository.expires[role] = YESTERDAY
    repository.publish(*((role,) if role in ("root", "targets") else ()))
    assert client.refresh() == 1
    assert client.versions() == trusted


@pytest.mark.parametrize(
    ("role", "trusted"),
    [("timestamp", [1, 1, 1, 1]), ("snapshot", [1, 2, 1, 1]), ("targets", [1, 2, 2, 1])],
)
def test_what_comes_before_a_strangers_signature_is_kept_and_nothing_after_it(
    client: Client, repository: TufRepository, role: str, trusted: list[int]
) -> None:
    client.refresh()
    repository.signers[role] = [new_key()]
    repository.publish(*(("targets",) if role == "targets" else ()))
    assert client.refresh() == 1
    assert client.versions() == trusted


def test_expired_local_metadata_still_leads_to_newer(client: Client, repository: TufRepository) -> None:
    """The second timestamp is in the folder as if it had been accepted when it was valid."""
    client.refresh()
    valid, repository.expires["timestamp"] = repository.expires["timestamp"], YESTERDAY
    repository.publish()
    (client.metadata / "timestamp.json").write_bytes(repository.path("timestamp").read_bytes())
    repository.expires["timestamp"] = valid
    repository.publish()
    assert client.refresh() == 0
    assert client.versions()[1:3] == [3, 3]


def test_a_timestamp_of_the_same_version_does_not_take_the_place_of_the_one_that_is_known(
    client: Client, repository: TufRepository
) -> None:
    client.refresh()
    before = (client.metadata / "timestamp.json").read_bytes()
    repository.roles["timestamp"].signed.snapshot_meta = MetaFile(100)
    repository.write("timestamp", version=1)
    client.refresh()
    assert (client.metadata / "timestamp.json").read_bytes() == before


# --- versions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_no_version_falls(client: Client, repository: TufRepository, role: str) -> None:
    repository.roles[role].signed.version = 8
    repository.publish(*(("targets",) if role == "targets" else ()))
    assert client.refresh() == 0
    repository.roles[role].signed.version = 0
    repository.publish(*(("targets",) if role == "targets" else ()))
    assert client.refresh() == 1
    assert client.version(role) == 9


@pytest.mark.parametrize(
    ("role", "replaced"),
    [("timestamp", ["timestamp"]), ("snapshot", ["snapshot", "timestamp"]), ("targets", ["snapshot"])],
)
def test_a_version_may_fall_after_the_keys_were_replaced_that_forbade_it(
    client: Client, repository: TufRepository, role: str, replaced: list[str]
) -> None:
    """That of targets with the snapshot's: this is where the floors of a robot are stricter."""
    repository.roles[role].signed.version = 98
    repository.publish(*(("targets",) if role == "targets" else ()))
    assert client.refresh() == 0
    repository.roles[role].signed.version = 3
    for other in replaced:
        repository.rotate(other)
    repository.publish("targets")
    assert client.refresh() == 0
    assert client.version(role) < 10


def test_a_snapshot_that_the_timestamp_does_not_name_is_refused(
    client: Client, repository: TufRepository
) -> None:
    client.refresh()
    repository.write("timestamp", version=2)
    repository.roles["timestamp"].signed.snapshot_meta = MetaFile(2)
    repository.write("timestamp", version=3)
    repository.path("snapshot", 2).write_bytes(repository.path("snapshot", 1).read_bytes())
    assert client.refresh() == 1
    assert client.versions() == [1, 3, 1, 1]


# --- targets ---------------------------------------------------------------------------------------------------------


def put(repository: TufRepository, name: str, content: bytes) -> Path:
    file = repository.add(KIND, name, content)
    repository.publish(KIND)
    return file


def test_a_target_is_fetched_with_the_metadata_that_leads_to_it(
    client: Client, repository: TufRepository
) -> None:
    put(repository, "file", b"content")
    assert client.download(f"{KIND}/file") == 0
    assert client.contents() == [b"content"]
    assert client.version(KIND) == 2


def test_a_target_that_is_there_is_not_fetched_again(client: Client, repository: TufRepository) -> None:
    put(repository, "file", b"content")
    client.download(f"{KIND}/file")
    client.server.asked.clear()
    assert client.download(f"{KIND}/file") == 0
    assert not any("/targets/" in path for path in client.server.asked)


def test_new_content_takes_the_place_of_old_content(client: Client, repository: TufRepository) -> None:
    for content in (b"content", b"other content", b"less"):
        put(repository, "file", content)
        assert client.download(f"{KIND}/file") == 0
        assert client.contents() == [content]


@pytest.mark.parametrize("content", [b"CONTENT", b"content and more", b"", b"con"])
def test_content_that_nobody_signed_is_not_kept(
    client: Client, repository: TufRepository, content: bytes
) -> None:
    put(repository, "file", b"content").write_bytes(content)
    assert client.download(f"{KIND}/file") == 1
    assert client.contents() == []


def test_a_target_that_nobody_signed_is_refused_and_the_metadata_kept(client: Client) -> None:
    assert client.download("no/such/target") == 1
    assert client.versions() == [1, 1, 1, 1]


class QuotedRepository(TufRepository):
    """Names its files as ``tuf`` asks for them, whatever the role is called."""

    def path(self, role: str, version: int | None = None) -> Path:
        return super().path(quote(role, ""), version or self.version(role))


@pytest.mark.parametrize("role", ["?", "#", "/role", "../role", "a.b"])
def test_a_role_of_any_name_is_asked_for_and_kept_in_the_folder(tmp_path: Path, role: str) -> None:
    repository = QuotedRepository(tmp_path / "repository", (role,), now=TODAY)
    repository.roles["targets"].signed.delegations.roles[role].paths = ["*"]
    repository.publish("targets")
    with HostileServer(lambda: repository.folder) as server:
        # The server shows paths unquoted: so must its folder be.
        shown = repository.path(role)
        client = Client(tmp_path, server)
        client.init(repository.root())
        server.on("1.", lambda request: request.answer(_quoted(repository, request.path)))
        assert client.download("target") == 1
        assert len(list(client.metadata.iterdir())) == 5
        assert (client.metadata / f"{quote(role, '')}.json").read_bytes() == shown.read_bytes()


def _quoted(repository: TufRepository, path: str) -> bytes:
    return (repository.folder / "metadata" / path.rpartition("/")[2]).read_bytes()


def test_roles_are_asked_in_the_order_of_their_delegations_and_each_once(
    client: Client, repository: TufRepository
) -> None:
    """a and b from targets; c and d from a; d leads back to b, and b to a."""
    graph = {"targets": ["a", "b"], "a": ["c", "d"], "d": ["b"], "b": ["a"], "c": []}
    key = new_key()
    for role, to in graph.items():
        if role != "targets":
            repository.roles[role] = Metadata(Targets(expires=repository.expires["targets"]))
            repository.signers[role], repository.expires[role] = [key], repository.expires["targets"]
        repository.roles[role].signed.delegations = Delegations(
            {key.public_key.keyid: key.public_key},
            {name: DelegatedRole(name, [key.public_key.keyid], 1, False, paths=["*"]) for name in to},
        )
    repository.kinds = ("a", "b", "c", "d")
    repository.publish("targets", *repository.kinds)
    assert client.download("missing") == 1
    assert [path[-6:-5] for path in client.server.asked[4:]] == ["a", "c", "d", "b"]


# --- the form itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["refresh"], ["--metadata-url", "http://localhost:9/", "download"]])
def test_an_option_that_is_missing_is_named(
    client: Client, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tuf_conformance_client.main(client.words(*words)) == 1
    assert capsys.readouterr().err.startswith(f"{words[-1]} needs --")


def test_it_runs_as_a_command_of_its_own(client: Client, repository: TufRepository, tmp_path: Path) -> None:
    """As suites start it: in a folder of theirs, by its path."""
    put(repository, "file", b"content")
    command = [sys.executable, tuf_conformance_client.__file__]
    arguments = client.words(
        *("--metadata-url", f"{client.server.url}/metadata/", "--target-name", f"{KIND}/file"),
        *("--target-base-url", f"{client.server.url}/targets/", "--target-dir", client.targets),
    )
    done = subprocess.run([*command, *arguments, "download"], cwd=tmp_path, timeout=60, check=False)
    assert (done.returncode, client.contents()) == (0, [b"content"])
    repository.path("timestamp").write_bytes(b"{}")
    failed = subprocess.run(
        [*command, *arguments, "refresh"], cwd=tmp_path, timeout=60, check=False, capture_output=True
    )
    assert failed.returncode == 1
    assert len(failed.stderr.splitlines()) == 1
