"""The DropFolder contract, tested for every implementation with real servers."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from connectors.dropzone.connector import DropzoneJsonV1Connector, _open_folder
from connectors.dropzone.filesystem import FilesystemFolder
from connectors.dropzone.folder import DropFolder, FileError, NewFile, Reason, Stat
from connectors.dropzone.memory import MemoryFolder
from connectors.errors import ConnectorError
from tests.support.dropzones import KINDS, asyncssh_config, dropzone_of
from tests.support.servers import AsyncSSHServer


@dataclass
class Place:
    folder: DropFolder
    path: str

    def __call__(self, name: str) -> str:
        return f"{self.path}/{name}"

    def create(self, **files: bytes) -> list[FileError | None]:
        return self.folder.create(
            [NewFile(self(n), c, unless=self(f"{n}.final")) for n, c in files.items()]
        )


@pytest.fixture(params=["memory", *KINDS])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "memory":
        yield Place(MemoryFolder("/drop"), "/drop")
        return
    with dropzone_of(request.param, request) as dropzone:
        config = DropzoneJsonV1Connector().parse_config(dropzone.config)
        with _open_folder(config) as folder:
            yield Place(folder, config.export_path)


def reasons(results: list[FileError | None]) -> list[Reason | None]:
    return [result and result.reason for result in results]


def names(place: Place) -> list[str]:
    return sorted(entry.name for entry in place.folder.entries(place.path))


def test_created_files_hold_their_bytes(place: Place) -> None:
    large = os.urandom(300_000)
    assert place.create(empty=b"", small=b"{}", large=large) == [None, None, None]
    paths = [place("empty"), place("small"), place("large")]
    assert place.folder.read(paths, limit=1 << 20) == [b"", b"{}", large]
    assert [s and s.size for s in place.folder.lstat(paths) if not isinstance(s, FileError)] == [
        0,
        2,
        300_000,
    ]


def test_many_files_are_read_at_once(place: Place) -> None:
    files = {f"f{number}": bytes([number]) * (number * 5000) for number in range(30)}
    place.create(**files)
    paths = [place(name) for name in [*files, "missing"]]
    *contents, missing = place.folder.read(paths, limit=100_000)
    assert contents == [content[:100_000] for content in files.values()]
    assert isinstance(missing, FileError)
    assert missing.reason is Reason.MISSING


def test_entries_say_what_they_are(place: Place) -> None:
    place.create(a=b"12345")
    ((name, found),) = place.folder.entries(place.path)
    assert (name, found.size, found.is_file) == ("a", 5, True)
    assert found.modified_at is None or abs(found.modified_at - time.time()) < 60


def test_a_folder_is_made_once(place: Place) -> None:
    folder = place("processed")
    assert place.folder.make(folder) is None
    assert place.folder.identity(folder) is not None
    assert place.folder.create([NewFile(f"{folder}/a", b"a", unless=f"{folder}/b")]) == [None]
    again = place.folder.make(folder)
    assert again
    assert again.reason in (Reason.EXISTS, Reason.FAILURE)


def test_read_stops_at_the_limit(place: Place) -> None:
    place.create(a=b"x" * 70_000)
    assert place.folder.read([place("a")], limit=40_000) == [b"x" * 40_000]


def test_one_bad_file_does_not_fail_its_neighbours(place: Place) -> None:
    place.create(taken=b"1")
    missing = NewFile(f"{place.path}/no/such/file", b"2", unless=place("x"))
    files = [
        NewFile(place("a"), b"a", unless=place("a.final")),
        missing,
        NewFile(place("b"), b"b", unless=place("taken")),
        NewFile(place("c"), b"c", unless=place("c.final")),
    ]
    results = place.folder.create(files)
    assert reasons(results) == [None, Reason.MISSING, Reason.EXISTS, None]
    assert names(place) == ["a", "c", "taken"]


def test_create_never_overwrites(place: Place) -> None:
    place.create(a=b"first")
    (failure,) = place.create(a=b"second")
    assert failure is not None
    assert place.folder.read([place("a")], limit=100) == [b"first"]


def test_rename_makes_visible_under_the_new_name_alone(place: Place) -> None:
    place.create(a=b"a", b=b"b")
    moves = [(place("a"), place("a.json")), (place("b"), place("b.json"))]
    assert place.folder.rename(moves) == [None, None]
    assert names(place) == ["a.json", "b.json"]


# Where there is posix-rename it would overwrite: names are unique, and looked for before.
@pytest.mark.parametrize(
    "place", ["memory", "filesystem", "openssh_plain_rename"], indirect=["place"]
)
def test_rename_overwrites_nothing(place: Place) -> None:
    place.create(**{"a": b"ours", "a.json": b"theirs"})
    (failure,) = place.folder.rename([(place("a"), place("a.json"))])
    assert failure is not None
    assert place.folder.read([place("a"), place("a.json")], limit=9) == [b"ours", b"theirs"]


def test_rename_of_a_missing_file_says_so(place: Place) -> None:
    place.create(b=b"b")
    moves = [(place("a"), place("a.json")), (place("b"), place("b.json"))]
    assert reasons(place.folder.rename(moves)) == [Reason.MISSING, None]


def test_remove_and_lstat_tell_what_is_not_there(place: Place) -> None:
    place.create(a=b"a")
    assert reasons(place.folder.remove([place("a"), place("b")])) == [None, Reason.MISSING]
    nowhere = [place("a"), place("b"), f"{place.path}/missing/c"]
    assert place.folder.lstat(nowhere) == [None, None, None]


def test_nothing_asked_is_nothing_done(place: Place) -> None:
    assert place.folder.create([]) == place.folder.rename([]) == place.folder.remove([]) == []


def test_identity_is_stable_and_none_for_a_missing_folder(place: Place) -> None:
    assert place.folder.identity(place.path) == place.folder.identity(place.path) is not None
    assert place.folder.identity(f"{place.path}/missing") is None


def test_names_of_a_missing_folder_raise(place: Place) -> None:
    with pytest.raises(FileError) as raised:
        list(place.folder.entries(f"{place.path}/missing"))
    assert raised.value.reason is Reason.MISSING


@pytest.fixture(params=["filesystem", "openssh", "asyncssh"])
def local(request: pytest.FixtureRequest) -> Iterator[tuple[Place, Path]]:
    with dropzone_of(request.param, request) as dropzone:
        config = DropzoneJsonV1Connector().parse_config(dropzone.config)
        with _open_folder(config) as folder:
            yield Place(folder, config.export_path), dropzone.exports


def test_links_and_pipes_are_seen_but_not_read(local: tuple[Place, Path]) -> None:
    place, real = local
    (real / "secret").write_text("root:x")
    (real / "link").symlink_to(real / "secret")
    os.mkfifo(real / "pipe")
    looks = place.folder.lstat([place("link"), place("pipe")])
    assert [isinstance(s, Stat) and s.is_file for s in looks] == [False, False]
    reads = place.folder.read([place("link"), place("pipe")], limit=100)
    assert [isinstance(r, FileError) and r.reason for r in reads] == [Reason.DENIED] * 2


def test_a_name_that_is_not_utf_8_hides_no_other(local: tuple[Place, Path]) -> None:
    place, real = local
    (real / "good.json").write_text("{}")
    with open(os.path.join(os.fsencode(real), b"b\xe4d.json"), "wb"):
        pass
    assert names(place) == ["b\udce4d.json", "good.json"]


def test_two_links_to_one_file_end_as_one(local: tuple[Place, Path]) -> None:
    place, real = local
    (real / "a.tmp").write_text("{}")
    os.link(real / "a.tmp", real / "a.json")
    place.folder.rename([(place("a.tmp"), place("a.json"))])
    # An implementation may refuse; none may report success and leave both.
    assert (real / "a.json").read_text() == "{}"


def test_filesystem_refuses_folders_outside_its_roots(tmp_path: Path) -> None:
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop-evil").mkdir()
    (tmp_path / "drop" / "out").symlink_to(tmp_path / "drop-evil")
    with FilesystemFolder([str(tmp_path / "drop")]) as folder:
        for path in ("drop-evil", "drop/out", "drop/../drop-evil"):
            with pytest.raises(ConnectorError) as raised:
                folder.lstat([f"{tmp_path}/{path}/x"])
            assert raised.value.code == "PATH_DENIED"


@pytest.fixture
def faulty(asyncssh_server: AsyncSSHServer) -> Iterator[tuple[Place, AsyncSSHServer]]:
    with AsyncSSHServer() as server:
        config = DropzoneJsonV1Connector().parse_config(asyncssh_config(server))
        with _open_folder(config) as folder:
            yield Place(folder, "/exports"), server


@pytest.mark.parametrize(
    ("fault", "value", "reason"),
    [
        ("disk_full_after", 1000, Reason.FAILURE),
        ("lose_after", 1000, Reason.CORRUPT),
        ("change_bytes", lambda data: data.replace(b"\n", b"\r\n"), Reason.CORRUPT),
    ],
)
def test_a_write_that_goes_wrong_is_noticed(
    faulty: tuple[Place, AsyncSSHServer], fault: str, value: object, reason: Reason
) -> None:
    place, server = faulty
    setattr(server.faults, fault, value)
    server.faults.only = "bad"
    results = place.create(good=b"\n" * 100_000, bad=b"\n" * 100_000)
    assert reasons(results) == [None, reason]
    assert [p.name for p in (server.root / "exports").iterdir()] == ["good"]


def test_a_lost_answer_to_a_rename_loses_the_connection(
    faulty: tuple[Place, AsyncSSHServer],
) -> None:
    place, server = faulty
    place.create(a=b"a")
    server.faults.drop_at_rename = "after"
    with pytest.raises(ConnectorError) as raised:
        place.folder.rename([(place("a"), place("a.json"))])
    assert raised.value.code == "CONNECTION_LOST"
    assert (server.root / "exports" / "a.json").exists()
