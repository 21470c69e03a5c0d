"""Checkpoint files: whole or not there, in a folder or anywhere fsspec writes. Bytes in, bytes out.

`<url>/<study>/<trial>/<repeat>-<epoch>-<generation>.ckpt` holds `magic, sha256 of the payload, its length, payload`.
Generations of a trial and repeat are numbered in the order of saving, and the newest is the one saved last: a worker
that went on from an older checkpoint supersedes the later epochs that it did not go on from. The two newest stay, of
different epochs. Nobody deletes the newest, so workers that save one trial at once leave each other a whole one.
"""

import hashlib
import logging
import re
import struct
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from foldtune.errors import StoreError
from foldtune.store.folders import folders_at, redact, reported

MAX_BYTES = 2**33
"""The largest payload."""

_MAGIC = b"FTC1"
_HEADER = struct.Struct("<4s32sQ")
_STUDY = re.compile("[0-9a-f]{32}")
_NUMBER = re.compile("0|[1-9][0-9]{0,17}")
_FILE = re.compile(rf"({_NUMBER.pattern})-({_NUMBER.pattern})-({_NUMBER.pattern})\.ckpt")
_TEMPORARY = re.compile(rf"{_FILE.pattern}\.[0-9a-f]{{16}}\.tmp")
_SQLITE = re.compile(r"sqlite(\+\w+)?:///[^?]")
_TRIES = 100

logger = logging.getLogger("foldtune")


@dataclass(frozen=True, order=True)
class _File:
    """One checkpoint's name; the newest is the largest."""

    generation: int
    epoch: int
    repeat: int

    @property
    def name(self) -> str:
        return f"{_text(self.repeat)}-{_text(self.epoch)}-{_text(self.generation)}.ckpt"


class Artifacts:
    """The checkpoints of one study's trials.

    Args:
        url: a folder, created when it is missing, or an fsspec URL (`s3://bucket/name`, `memory://name`). Files of
            places without atomic writes (FTP) can be damaged; the generation before is then used.
        study: the study's uuid, 32 hexadecimal digits.

    Raises:
        StoreError: the URL or the uuid is wrong, or the URL's package is not installed. Methods raise it too, when
            the place fails or a number is negative; what was saved before stays.

    Example:
        >>> artifacts = Artifacts("memory://checkpoints", "0" * 32)
        >>> artifacts.save(trial=7, epoch=1, data=b"weights")
        >>> artifacts.load(trial=7, at_most=3)
        (1, b'weights')
    """

    def __init__(self, url: str, study: str) -> None:
        if not _STUDY.fullmatch(study):
            raise StoreError.of((), "a study's uuid must have 32 hexadecimal digits", repr(study))
        self._url = url
        self._study = study
        with reported(url, (Exception,)):
            self._folders = folders_at(url)

    def save(self, trial: int, epoch: int, data: bytes, repeat: int = 0) -> None:
        """Store a checkpoint, then delete all but the newest of the others; a kill at any moment leaves whole ones.

        Args:
            epoch: epochs trained so far; a checkpoint of the same epoch is replaced.
        """
        if len(data) > MAX_BYTES:
            raise StoreError.of((), f"a checkpoint must have at most {MAX_BYTES} bytes", len(data))
        folder = (self._study, _text(trial))
        with self._reported():
            before = self._files(trial, repeat)
            new = _File(max((file.generation for file in before), default=0) + 1, epoch, repeat)
            header = _HEADER.pack(_MAGIC, hashlib.sha256(data).digest(), len(data))
            self._folders.write(folder, new.name, (header, data))
            stays = max((file for file in before if file.epoch != epoch), default=None)
            for file in before:
                if file != stays:
                    self._folders.delete(folder, file.name)

    def load(self, trial: int, at_most: int, repeat: int = 0) -> tuple[int, bytes] | None:
        """The epoch and the bytes of the newest whole checkpoint; what is damaged is skipped with a warning.

        Args:
            at_most: the last epoch that is of use.

        Returns:
            None when there is none: the trial is to be trained from its start.
        """
        damaged: list[_File] = []
        found = None
        with self._reported():
            for _ in range(_TRIES):
                files = [file for file in self._files(trial, repeat) if file.epoch <= at_most and file not in damaged]
                if not files:
                    break
                try:
                    raw = self._folders.read((self._study, _text(trial)), max(files).name, _HEADER.size + MAX_BYTES)
                except FileNotFoundError:  # another worker superseded it; the list is out of date
                    continue
                if (data := _payload(raw)) is not None:
                    found = max(files).epoch, data
                    break
                damaged.append(max(files))
        used = f"the one before it is used (epoch {found[0]})" if found else "the trial is trained again from its start"
        for file in damaged:
            where = f"{redact(self._url, self._url)}/{self._study}/{trial}/{file.name}"
            logger.warning("the checkpoint %s is damaged: %s", where, used)
        return found

    def delete(self, trial: int) -> None:
        """Delete a trial's checkpoints, those of all repeats."""
        self._delete(_text(trial))

    def keep(self, trials: Collection[int]) -> None:
        """Delete what crashes left: files of all trials but these, and the temporary files of these.

        A worker that saves one of `trials` meanwhile saves it nevertheless.
        """
        kept = {_text(trial) for trial in trials}
        with self._reported():
            folders = self._folders.names((self._study,), folders=True)
        for name in filter(_NUMBER.fullmatch, folders):
            self._delete(name, only_temporary=name in kept)

    def clear(self) -> None:
        """Delete the whole study's checkpoints."""
        self.keep(())
        with self._reported():
            self._folders.prune((self._study,))

    def _delete(self, trial: str, *, only_temporary: bool = False) -> None:
        folder = (self._study, trial)
        with self._reported():
            for name in self._folders.names(folder):
                if _TEMPORARY.fullmatch(name) or (_FILE.fullmatch(name) and not only_temporary):
                    self._folders.delete(folder, name)
            self._folders.prune(folder)

    def _files(self, trial: int, repeat: int) -> list[_File]:
        folder, wanted = (self._study, _text(trial)), _text(repeat)
        found = [match.groups() for match in map(_FILE.fullmatch, self._folders.names(folder)) if match]
        return [_File(int(generation), int(epoch), repeat) for of, epoch, generation in found if of == wanted]

    def _reported(self) -> AbstractContextManager[None]:
        return reported(self._url, self._folders.errors)


def default_url(storage_url: str) -> str:
    """Where the checkpoints of a database's studies are unless the user says otherwise.

    Example:
        >>> default_url("sqlite:////home/ann/studies.db")
        '/home/ann/foldtune-artifacts'
    """
    folder = Path()
    if _SQLITE.match(storage_url):
        from sqlalchemy import make_url  # whether `%20` is a space depends on its version; checkpoints do without it

        folder = Path((make_url(storage_url).database or "").removeprefix("file:")).parent
    return str(folder.absolute() / "foldtune-artifacts")


def _text(number: int) -> str:
    """A number as it stands in names; what is none cannot lead out of the folder."""
    if not _NUMBER.fullmatch(text := str(number)):
        raise StoreError.of((), "numbers of trials, repeats and epochs must be whole and at least 0", repr(number))
    return text


def _payload(raw: bytes) -> bytes | None:
    """What a file holds; None when it is not one of ours, or not whole."""
    if len(raw) < _HEADER.size:
        return None
    magic, digest, length = _HEADER.unpack_from(raw)
    payload = memoryview(raw)[_HEADER.size :]
    whole = magic == _MAGIC and length == len(payload) and digest == hashlib.sha256(payload).digest()
    return bytes(payload) if whole else None
