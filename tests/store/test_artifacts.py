"""Checkpoints come back to the last bit or not at all, whatever is killed, full, damaged or planted."""

import errno
import itertools
import logging
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url

from foldtune.errors import StoreError
from foldtune.store import artifacts as artifacts_module
from foldtune.store.artifacts import Artifacts, default_url
from foldtune.store.folders import RemoteFolders, redact

STUDY = "0123456789abcdef" * 2
SHARED_FOLDER = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
STEPS = ("open", "mkdir", "fsync", "rename", "unlink")
numbers = st.integers(0, 10**18 - 1)


class Rooms(LocalFileSystem):  # type: ignore[misc]
    """A place behind fsspec that has folders of its own, which are there before a file is."""

    protocol = "rooms"

    def __init__(self, **options: Any) -> None:
        super().__init__(auto_mkdir=False, **options)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("rooms://")))


@pytest.fixture(params=["folder", "memory", "rooms"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Every kind of place in turn: an URL without checkpoints."""
    fsspec.register_implementation("rooms", Rooms, clobber=True)
    return {"folder": f"{tmp_path}/new/folder", "memory": f"memory://{uuid4().hex}", "rooms": f"rooms://{tmp_path}"}[
        str(request.param)
    ]


@SHARED_FOLDER
@given(trial=numbers, epoch=numbers, repeat=numbers, data=st.binary(max_size=5000))
def test_what_is_saved_is_loaded(trial: int, epoch: int, repeat: int, data: bytes, place: str) -> None:
    study = uuid4().hex
    Artifacts(place, study).save(trial, epoch, data, repeat)
    there = Artifacts(place, study)
    assert there.load(trial, epoch, repeat) == (epoch, data)
    assert there.load(trial, epoch - 1, repeat) is None
    assert there.load(trial, epoch, repeat + 1 if repeat < 10**18 - 1 else 0) is None
    assert Artifacts(place, uuid4().hex).load(trial, epoch, repeat) is None


@SHARED_FOLDER
@given(epochs=st.lists(st.integers(0, 5), max_size=12), other=st.integers(0, 5))
def test_the_two_saved_last_stay(epochs: list[int], other: int, place: str) -> None:
    artifacts = Artifacts(place, uuid4().hex)
    artifacts.save(3, other, b"of another trial")
    artifacts.save(0, other, b"of another repeat", repeat=1)
    kept: list[tuple[int, bytes]] = []
    for count, epoch in enumerate(epochs):
        artifacts.save(0, epoch, b"%d" % count)
        kept = [(epoch, b"%d" % count), *(old for old in kept if old[0] != epoch)][:2]
        assert len(names(artifacts)) == len(kept) + 1
        for at_most in range(6):
            assert artifacts.load(0, at_most) == next((one for one in kept if one[0] <= at_most), None)
    assert artifacts.load(3, 5) == (other, b"of another trial")
    assert artifacts.load(0, 5, repeat=1) == (other, b"of another repeat")


@SHARED_FOLDER
@given(saved=st.sets(st.integers(0, 12)), kept=st.sets(st.integers(0, 12)))
def test_leftovers_are_deleted_and_nothing_else(saved: set[int], kept: set[int], place: str) -> None:
    artifacts = Artifacts(place, STUDY)
    artifacts.clear()
    for trial in saved:
        artifacts.save(trial, 1, b"first")
        artifacts.save(trial, 2, b"second", repeat=trial % 2)
    artifacts.keep(kept)
    for trial in range(13):
        found = artifacts.load(trial, 9), artifacts.load(trial, 9, repeat=1)
        first, second = (1, b"first"), (2, b"second")
        left = (first, second) if trial % 2 else (second, None)
        assert found == (left if trial in saved & kept else (None, None))
    for trial in kept:
        artifacts.delete(trial)
    assert not any(artifacts.load(trial, 9) for trial in range(13))


def test_only_our_own_files_are_deleted(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path), STUDY)
    for trial in range(3):
        artifacts.save(trial, 1, b"data")
    study = tmp_path / STUDY
    temporary = f"0-2-2.ckpt.{'0f' * 8}.tmp"
    foreign = ["notes.txt", "0-01-1.ckpt", "0-1-1.ckpt.bak", "0-2-2.ckpt.tmp", f"{temporary}.gz"]
    for path in [study / "0", study / "1", study / "007", study, tmp_path]:
        path.mkdir(exist_ok=True)
        for name in (*foreign, temporary):
            (path / name).write_text("mine")
    artifacts.keep([1])
    assert sorted(path.name for path in (study / "0").iterdir()) == sorted(foreign)
    assert sorted(path.name for path in (study / "1").iterdir()) == sorted([*foreign, "0-1-1.ckpt"])
    assert not (study / "2").exists()
    artifacts.clear()
    assert sorted(path.name for path in (study / "1").iterdir()) == sorted(foreign)
    assert all((path / temporary).exists() for path in (study / "007", study, tmp_path))


def test_a_cleared_study_leaves_nothing(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path), STUDY)
    artifacts.clear()
    artifacts.delete(3)
    artifacts.save(0, 1, b"data")
    artifacts.save(11, 1, b"data", repeat=2)
    artifacts.clear()
    assert not list(tmp_path.iterdir())


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = Artifacts(str(tmp_path / "outside"), STUDY)
    for trial in range(4):
        outside.save(trial, 1, b"data")
    theirs = tmp_path / "outside" / STUDY
    inside = Artifacts(str(tmp_path / "inside"), STUDY)
    inside.save(3, 0, b"own")
    ours = tmp_path / "inside" / STUDY
    (ours / "0").symlink_to(theirs / "0")
    (ours / "3" / "0-5-5.ckpt").symlink_to(theirs / "0" / "0-1-1.ckpt")
    os.mkfifo(ours / "3" / "0-6-6.ckpt")
    assert inside.load(0, 9) is None
    assert inside.load(3, 9) == (0, b"own")
    with pytest.raises(StoreError, match="must answer"):
        inside.save(0, 2, b"never written")
    inside.delete(0)
    inside.clear()
    assert sorted(path.name for path in ours.rglob("*")) == ["0", "0-5-5.ckpt", "0-6-6.ckpt", "3"]
    assert [outside.load(trial, 9) for trial in range(4)] == [(1, b"data")] * 4


@pytest.mark.parametrize(
    "study", ["", "../" + "0" * 29, "0" * 31, "0" * 32 + "\n", "G" * 32, "A" * 32, "٣" * 32, "/" + "0" * 31]
)
def test_a_study_cannot_lead_out_of_the_folder(study: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="uuid must have 32 hexadecimal digits, however"):
        Artifacts(str(tmp_path), study)


@pytest.mark.parametrize("number", [-1, 10**18, 1.0, True, None, "../0", "0\n", "٣"])
def test_numbers_cannot_lead_out_of_the_folder(number: Any, place: str) -> None:
    artifacts = Artifacts(place, STUDY)
    calls: list[Callable[[], object]] = [
        lambda: artifacts.save(number, 1, b""),
        lambda: artifacts.save(1, number, b""),
        lambda: artifacts.save(1, 1, b"", number),
        lambda: artifacts.load(number, 1),
        lambda: artifacts.load(1, 1, number),
        lambda: artifacts.delete(number),
        lambda: artifacts.keep([number]),
    ]
    for call in calls:
        with pytest.raises(StoreError, match="must be whole and at least 0, however"):
            call()
    assert not names(artifacts)


@SHARED_FOLDER
@given(data=st.binary(max_size=300), place=st.integers(0, 10**6), flip=st.integers(1, 255), cut=st.integers(1, 400))
def test_every_damage_is_noticed(data: bytes, place: int, flip: int, cut: int, tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path), uuid4().hex)
    artifacts.save(0, 1, b"older")
    artifacts.save(0, 2, data)
    file = tmp_path / artifacts._study / "0" / "0-2-2.ckpt"
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[place % len(whole)] ^= flip
    for damaged in (bytes(flipped), whole[:-cut], whole + bytes(cut), b"x" * len(whole)):
        file.write_bytes(damaged)
        assert artifacts.load(0, 2) == (1, b"older")
    file.write_bytes(whole)
    assert artifacts.load(0, 2) == (2, data)


def test_damage_is_told_once(place: str, caplog: pytest.LogCaptureFixture) -> None:
    artifacts = Artifacts(place, STUDY)
    artifacts.save(7, 4, b"older")
    artifacts.save(7, 5, b"newer")
    files, root = fsspec.url_to_fs(place)
    files.pipe_file(f"{root}/{STUDY}/7/0-5-2.ckpt", b"half")
    with caplog.at_level(logging.WARNING, "foldtune"):
        assert artifacts.load(7, 4) == (4, b"older")
        assert not caplog.messages
        assert artifacts.load(7, 5) == (4, b"older")
        wanted = f"the checkpoint {place}/{STUDY}/7/0-5-2.ckpt is damaged: the one before it is used (epoch 4)"
        assert caplog.messages == [wanted]
        caplog.clear()
        files.pipe_file(f"{root}/{STUDY}/7/0-4-1.ckpt", b"")
        assert artifacts.load(7, 5) is None
    assert [message.partition("damaged: ")[2] for message in caplog.messages] == [
        "the trial is trained again from its start"
    ] * 2
    artifacts.save(7, 5, b"again")
    assert artifacts.load(7, 5) == (5, b"again")


def test_sizes_are_bounded(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts = Artifacts(place, STUDY)
    artifacts.save(0, 1, b"1234")
    artifacts.save(0, 2, b"12345")
    monkeypatch.setattr(artifacts_module, "MAX_BYTES", 4)
    assert artifacts.load(0, 2) == (1, b"1234")
    with pytest.raises(StoreError, match="at most 4 bytes, however: 5"):
        artifacts.save(0, 3, b"12345")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path), STUDY)
    artifacts.save(0, 1, b"whole")
    with open(tmp_path / STUDY / "0" / "0-2-2.ckpt", "wb") as file:
        file.truncate(2**40)
    assert artifacts.load(0, 2) == (1, b"whole")


@pytest.mark.parametrize("saved", [0, 1, 3])
def test_a_failing_disk_costs_nothing_that_was_saved(
    saved: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message, failures = r"must have room for the checkpoints, however: .*\(.*\)\. Free some space", 0
    for step in itertools.count():
        artifacts, counter, error = Artifacts(f"{tmp_path}/{step}", STUDY), itertools.count(), ""
        for epoch in range(saved):
            artifacts.save(0, epoch, b"old")
        before = artifacts.load(0, 9)
        with monkeypatch.context() as patch:
            for name in STEPS:
                patch.setattr(os, name, failing(getattr(os, name), partial(due, counter, step)))
            try:
                artifacts.save(0, 9, b"new")
            except StoreError as failed:
                error = str(failed)
        assert artifacts.load(0, 9) in ([before] if error else []) + [(9, b"new")]
        assert not list(tmp_path.rglob("*.tmp"))
        artifacts.save(0, 8, b"next")
        assert artifacts.load(0, 9) == (8, b"next")
        failures += bool(error)
        assert not error or re.search(message, error)
        if next(counter) <= step:
            break
    assert failures > 8


@pytest.mark.parametrize("full", ["tmpfs", "limit"])
def test_a_full_disk(full: str, tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=64k tmpfs {tmp_path} && "
    shell = ["unshare", "-m", "sh", "-c", f'{mount if full == "tmpfs" else ""}exec "$@"', "sh"]
    if full == "tmpfs" and subprocess.run([*shell, "true"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here; the limit of a file's size is tested")
    run_apart("fill", tmp_path, full, before=shell if full == "tmpfs" else [])


def fill(folder: str, full: str) -> None:
    artifacts = Artifacts(folder, STUDY)
    artifacts.save(0, 1, b"1" * 8000)
    artifacts.save(0, 2, b"2" * 8000)
    if full == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (16000, 16000))
    for _ in range(3):
        with pytest.raises(StoreError, match=r"must have room for the checkpoints, however: .*\. Free some space"):
            artifacts.save(0, 3, b"3" * 80000)
    assert names(artifacts) == ["0-1-1.ckpt", "0-2-2.ckpt"]
    assert artifacts.load(0, 9) == (2, b"2" * 8000)
    artifacts.save(0, 4, b"4" * 8000)
    assert artifacts.load(0, 9) == (4, b"4" * 8000)


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    artifacts = Artifacts(str(tmp_path / "file" / "folder"), STUDY)
    assert artifacts.load(0, 1) is None
    with pytest.raises(StoreError, match=r"must answer, however: .*file/folder \(.*Not a directory.*\)\. Check it, or"):
        artifacts.save(0, 1, b"")
    monkeypatch.setattr(os, "open", failing(os.open, lambda: True, errno.EACCES))
    with pytest.raises(StoreError, match=r"must be writable, however: .*Check the rights on it"):
        Artifacts(str(tmp_path), STUDY).save(0, 1, b"")


def test_a_kill_at_any_step_leaves_whole_checkpoints(tmp_path: Path) -> None:
    run_apart("kill_at_every_step", tmp_path)


def kill_at_every_step(folder: str) -> None:
    kills = 0
    for saved in range(4):
        for step in itertools.count():
            artifacts = Artifacts(f"{folder}/{saved}-{step}", STUDY)
            for epoch in range(saved):
                artifacts.save(0, epoch, b"%d" % epoch)
            if not (child := os.fork()):
                die_at(step)
                artifacts.save(0, saved, b"%d" % saved)
                os._exit(0)
            killed = os.waitpid(child, 0)[1] == signal.SIGKILL
            old = (saved - 1, b"%d" % (saved - 1)) if saved else None
            assert artifacts.load(0, 9) in ([old] if killed else []) + [(saved, b"%d" % saved)]
            artifacts.keep([0])
            assert not list(Path(folder).rglob("*.tmp"))
            artifacts.save(0, 9, b"next")
            assert len(names(artifacts)) <= 2
            kills += killed
            if not killed:
                break
    assert kills > 40


def test_kills_at_random_moments_leave_whole_checkpoints(tmp_path: Path) -> None:
    run_apart("kill_at_random", tmp_path)


def kill_at_random(folder: str, kills: int = 30) -> None:
    artifacts, chance = Artifacts(folder, STUDY), random.Random(0)
    acknowledged = 0
    for _ in range(kills):
        reader, writer = os.pipe()
        if not (child := os.fork()):
            found = artifacts.load(0, 10**9)
            for epoch in itertools.count(found[0] + 1 if found else 1):
                artifacts.save(0, epoch, payload(epoch))
                os.write(writer, b"%d\n" % epoch)
        os.close(writer)
        time.sleep(chance.uniform(0.001, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with open(reader, "rb") as acknowledgements:
            acknowledged = max([acknowledged, *map(int, acknowledgements)])
        found = artifacts.load(0, 10**9)
        assert found is None or found == (found[0], payload(found[0]))
        assert (found[0] if found else 0) >= acknowledged
        older = artifacts.load(0, found[0] - 1) if found else None
        assert older is None or older[1] == payload(older[0])
    assert acknowledged > 5
    artifacts.keep([0])
    artifacts.save(0, 10**9, b"")
    assert len(names(artifacts)) == 2
    assert not list(Path(folder).rglob("*.tmp"))


def test_workers_that_save_one_trial_at_once(tmp_path: Path) -> None:
    run_apart("race", tmp_path)


def race(folder: str, workers: int = 3, saves: int = 150) -> None:
    artifacts = Artifacts(folder, STUDY)
    artifacts.save(0, 0, payload(0))
    children = []
    for worker in range(workers):
        if not (child := os.fork()):
            for epoch in range(saves):
                artifacts.save(0, 1 + (epoch + 7 * worker) % saves, payload(1 + (epoch + 7 * worker) % saves))
            os._exit(0)
        children.append(child)
    while children:
        artifacts.keep([0])  # now and then, as search loops begin: in a tight loop no save would come to its end
        time.sleep(0.05)
        found = artifacts.load(0, saves)
        assert found and found[1] == payload(found[0])
        pid, status = os.waitpid(children[-1], os.WNOHANG)
        if pid:
            assert not status
            children.pop()
    artifacts.save(0, saves + 1, payload(saves + 1))
    assert len(names(artifacts)) == 2


def test_a_worker_whose_temporary_file_is_cleaned_up_saves_nevertheless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts, real = Artifacts(str(tmp_path), STUDY), os.fsync

    def clean_up(descriptor: int) -> None:
        real(descriptor)
        monkeypatch.setattr(os, "fsync", real)
        Artifacts(str(tmp_path), STUDY).clear()

    monkeypatch.setattr(os, "fsync", clean_up)
    artifacts.save(0, 1, b"data")
    assert artifacts.load(0, 1) == (1, b"data")


def test_a_checkpoint_that_vanishes_gives_way_to_its_successor(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts, other = Artifacts(place, STUDY), Artifacts(place, STUDY)
    artifacts.save(0, 1, b"1")
    read, folders = artifacts._folders.read, artifacts._folders

    def late(*arguments: Any) -> bytes:
        monkeypatch.setattr(folders, "read", read)
        other.save(0, 2, b"2")
        other.save(0, 3, b"3")
        return read(*arguments)

    monkeypatch.setattr(folders, "read", late)
    assert artifacts.load(0, 9) == (3, b"3")


def test_a_remote_place_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts = Artifacts(f"memory://{uuid4().hex}?token=sesame", STUDY)
    artifacts.save(0, 1, b"old")

    class ClientError(Exception):
        """Such as those of boto, which are no OSError."""

    def fail(*arguments: object) -> None:
        raise ClientError("no answer with token sesame")

    assert isinstance(artifacts._folders, RemoteFolders)
    monkeypatch.setattr(artifacts._folders._files, "pipe_file", fail)
    message = r"must answer, however: memory://.*token=\*\*\* \(no answer with token \*\*\*\)\. Check it, or name"
    with pytest.raises(StoreError, match=message):
        artifacts.save(0, 2, b"new")
    assert artifacts.load(0, 2) == (1, b"old")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", r"must be a folder or one that fsspec opens, however:  \(the URL is empty\)"),
        ("file://", "the URL is empty"),
        ("nowhere://ann:sesame@host/x", r"however: nowhere://ann:\*\*\*@host/x \(Protocol not known: nowhere\)"),
        ("s3://bucket/x", r"however: s3://bucket/x \(Install s3fs to access S3\)\. .*`pip install s3fs`"),
        ("ftp://ann:sesame@127.0.0.1:1/x", r"must answer, however: ftp://ann:\*\*\*@127.0.0.1:1/x \(.*refused\)"),
    ],
)
def test_wrong_urls_are_explained(url: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(StoreError, match=message) as caught:
        Artifacts(url, STUDY)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("s3://bucket/name", "s3://bucket/name"),
        ("/folder/with@sign:and/colon", "/folder/with@sign:and/colon"),
        ("sftp://ann@host/x", "sftp://ann@host/x"),
        ("sftp://ann:a/b@c@host/x", "sftp://ann:***@host/x"),
        ("simplecache::sftp://ann:sesame@host/x", "simplecache::sftp://ann:***@host/x"),
        ("abfs://x?sig=se%2Fsame&v=1&AccountKey=s2", "abfs://x?sig=***&v=1&AccountKey=***"),
        ("sftp://ann:@host/x", "sftp://ann:@host/x"),
    ],
)
def test_passwords_are_not_printed(url: str, printed: str) -> None:
    assert redact(url, url) == printed


@pytest.mark.parametrize("url", ["file://{}", "local://{}", "{}"])
def test_urls_of_this_machine_are_folders(url: str, tmp_path: Path) -> None:
    Artifacts(url.format(tmp_path), STUDY).save(0, 1, b"data")
    assert Artifacts(str(tmp_path), STUDY).load(0, 1) == (1, b"data")


def test_the_folder_is_where_it_was_when_the_working_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    artifacts = Artifacts("here", STUDY)
    monkeypatch.chdir("/")
    artifacts.save(0, 1, b"data")
    assert (tmp_path / "here" / STUDY / "0" / "0-1-1.ckpt").exists()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///studies.db",
        "sqlite:///deep/studies.db?timeout=5",
        "sqlite:////abs/with%20space/studies.db",
        "sqlite+pysqlite:////abs/a:b@c/studies.db",
        "sqlite:///file:/abs/studies.db?mode=rw&uri=true",
        "sqlite:///file:studies.db?uri=true",
    ],
)
def test_checkpoints_are_beside_their_sqlite_file(url: str) -> None:
    file = Path((make_url(url).database or "").removeprefix("file:"))
    assert default_url(url) == str(file.parent.absolute() / "foldtune-artifacts")


@pytest.mark.parametrize("url", ["postgresql+psycopg://ann:sesame@host/a/b", "mysql://host/d", "sqlite://", ""])
def test_checkpoints_of_a_server_are_in_the_working_folder(url: str) -> None:
    assert default_url(url) == str(Path.cwd() / "foldtune-artifacts")


def test_checkpoints_need_neither_torch_nor_sql(tmp_path: Path) -> None:
    code = (
        "import sys; from foldtune.store.artifacts import Artifacts; Artifacts(sys.argv[1], '0' * 32).save(0, 1, b''); "
        "assert not {'torch', 'sqlalchemy', 'fsspec', 'numpy', 'optuna'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def names(artifacts: Artifacts) -> list[str]:
    """The files of trial 0."""
    return sorted(artifacts._folders.names((artifacts._study, "0")))


def payload(epoch: int) -> bytes:
    return b"%d " % epoch * 20_000


def failing(real: Callable[..., Any], now: Callable[[], bool], number: int = errno.ENOSPC) -> Callable[..., Any]:
    """A system call that fails when it is time."""

    def call(*arguments: Any, **options: Any) -> Any:
        if now():
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    return call


def due(counter: Iterator[int], step: int) -> bool:
    return next(counter) == step


def die_at(step: int) -> None:
    """Let this process be killed before its n-th system call on files."""
    counter = itertools.count()
    for name in STEPS:
        real = getattr(os, name)

        def call(*arguments: Any, real: Callable[..., Any] = real, **options: Any) -> Any:
            if next(counter) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        setattr(os, name, call)


def run_apart(function: str, *arguments: object, before: list[str] | None = None) -> None:
    """Run a function of this file in a process without threads, which may fork and be killed."""
    code = f"import sys; from tests.store import test_artifacts; test_artifacts.{function}(*sys.argv[1:])"
    command = [*(before or []), sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert not done.returncode, done.stderr
