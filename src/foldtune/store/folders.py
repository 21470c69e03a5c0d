"""Folders of files, here or anywhere fsspec writes: a file is written whole or not at all, and no link is followed."""

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from foldtune.errors import StoreError

_SECRETS = re.compile(r"://[^/@:]*:(.*)@|[?&][^=&]*(?:pass|secret|token|key|sig)[^=&]*=([^&]*)", re.IGNORECASE)
_TRIES = 100
_ROOM = ("the disk must have room for the checkpoints", "Free some space; those saved before are kept.")
_WRITABLE = (
    "the folder of the checkpoints must be writable",
    "Check the rights on it, or name another with `--artifacts`.",
)
_KNOWN = (
    "the checkpoints' URL must be a folder or one that fsspec opens",
    "Check its spelling and that its package is installed (`pip install s3fs` for s3://).",
)
_ANSWERS = ("the folder of the checkpoints must answer", "Check it, or name another with `--artifacts`.")
_RULES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _WRITABLE),
}


class Folders(Protocol):
    """Folders below a root, each named by its parts; one that is missing is empty.

    `errors` are those that the methods raise; a file to read that is missing is a `FileNotFoundError`.
    """

    errors: tuple[type[Exception], ...]

    def names(self, folder: Sequence[str], *, folders: bool = False) -> list[str]:
        """The files in a folder, or the folders in it; nothing else, no links."""
        ...

    def read(self, folder: Sequence[str], name: str, at_most: int) -> bytes:
        """A file's bytes; none where it has more than `at_most`."""
        ...

    def write(self, folder: Sequence[str], name: str, pieces: Sequence[bytes]) -> None:
        """Write or replace a file: it is whole and on the disk when this returns, and as before when this fails."""
        ...

    def delete(self, folder: Sequence[str], name: str) -> None:
        """Delete a file; one that is gone is no error."""
        ...

    def prune(self, folder: Sequence[str]) -> None:
        """Remove a folder if it is empty."""
        ...


class LocalFolders:
    """Folders of this machine. Everything happens relative to open folders, so that no link leads out of the root.

    Args:
        root: created, with its parents, by the first write.
    """

    errors: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, folder: Sequence[str], *, folders: bool = False) -> list[str]:
        with (
            suppress(FileNotFoundError, NotADirectoryError),
            self._opened(folder) as opened,
            os.scandir(opened) as found,
        ):
            return [
                entry.name
                for entry in found
                if (entry.is_dir(follow_symlinks=False) if folders else entry.is_file(follow_symlinks=False))
            ]
        return []

    def read(self, folder: Sequence[str], name: str, at_most: int) -> bytes:
        with self._opened(folder) as opened:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=opened)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            return file.read() if stat.S_ISREG(status.st_mode) and status.st_size <= at_most else b""

    def write(self, folder: Sequence[str], name: str, pieces: Sequence[bytes]) -> None:
        for _ in range(_TRIES):
            with suppress(FileNotFoundError):  # another process cleaned up what it took for a leftover
                return self._write(folder, name, pieces)
        self._write(folder, name, pieces)

    def delete(self, folder: Sequence[str], name: str) -> None:
        with suppress(FileNotFoundError), self._opened(folder) as opened:
            os.unlink(name, dir_fd=opened)

    def prune(self, folder: Sequence[str]) -> None:
        try:
            with self._opened(folder[:-1]) as opened:
                os.rmdir(folder[-1], dir_fd=opened)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST):
                raise

    def _write(self, folder: Sequence[str], name: str, pieces: Sequence[bytes]) -> None:
        temporary = f"{name}.{os.urandom(8).hex()}.tmp"
        with self._opened(folder, create=True) as opened:
            try:
                with open(
                    temporary, "xb", opener=lambda path, flags: os.open(path, flags, 0o666, dir_fd=opened)
                ) as file:
                    file.writelines(pieces)
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(temporary, name, src_dir_fd=opened, dst_dir_fd=opened)
                os.fsync(opened)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=opened)
                raise

    @contextmanager
    def _opened(self, folder: Sequence[str], *, create: bool = False) -> Iterator[int]:
        """The descriptor of a folder."""
        if create:
            self._root.mkdir(parents=True, exist_ok=True)
        opened = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in folder:
                if create:
                    _make(part, opened)
                above, opened = opened, os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=opened)
                os.close(above)
            yield opened
        finally:
            os.close(opened)


class RemoteFolders:
    """Folders behind fsspec. Object stores write whole objects; elsewhere a write that fails may leave half a file.

    Args:
        url: any URL that fsspec opens.
    """

    errors: tuple[type[Exception], ...] = (Exception,)  # those of every library that fsspec calls

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs  # 0.1 s that local folders do without

        self._files: Any
        self._files, root = url_to_fs(url)
        self._root = root.rstrip("/")

    def names(self, folder: Sequence[str], *, folders: bool = False) -> list[str]:
        kind = "directory" if folders else "file"
        self._files.invalidate_cache()
        with suppress(FileNotFoundError, NotADirectoryError):
            entries = self._files.ls(self._path(*folder), detail=True)
            return [entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == kind]
        return []

    def read(self, folder: Sequence[str], name: str, at_most: int) -> bytes:
        path = self._path(*folder, name)
        fits = (self._files.size(path) or 0) <= at_most
        return bytes(self._files.cat_file(path)) if fits else b""

    def write(self, folder: Sequence[str], name: str, pieces: Sequence[bytes]) -> None:
        path, data = self._path(*folder, name), b"".join(pieces)
        try:
            self._files.pipe_file(path, data)
        except FileNotFoundError:  # a place with folders of its own; never a bucket, which is the user's to make
            for depth in range(1, len(folder) + 1):
                with suppress(FileExistsError):
                    self._files.mkdir(self._path(*folder[:depth]), create_parents=False)
            self._files.pipe_file(path, data)

    def delete(self, folder: Sequence[str], name: str) -> None:
        with suppress(FileNotFoundError):
            self._files.rm_file(self._path(*folder, name))

    def prune(self, folder: Sequence[str]) -> None:
        """Object stores have no folders; elsewhere empty ones stay."""

    def _path(self, *parts: str) -> str:
        return "/".join((self._root, *parts))


def folders_at(url: str) -> Folders:
    """The folders below a URL."""
    name = re.sub("^(file|local)://", "", url)
    if "://" in name or "::" in name:
        return RemoteFolders(url)
    if not name:
        raise ValueError("the URL is empty")
    return LocalFolders(Path(name).expanduser().absolute())


def redact(text: str, url: str) -> str:
    """A text as it may be printed: without the passwords that are in a URL.

    Example:
        >>> redact("no answer from ftp://ann:sesame@host", "ftp://ann:sesame@host/checkpoints")
        'no answer from ftp://ann:***@host'
    """
    for found in _SECRETS.findall(url):
        text = text.replace("".join(found), "***") if any(found) else text
    return text


@contextmanager
def reported(url: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Raise the errors of folders as `StoreError`, without the passwords that are in their URL."""
    try:
        yield
    except StoreError:
        raise
    except errors as error:
        rule, hint = _explanation(error)
        reason = redact(" ".join(str(error).split()) or type(error).__name__, url)
        raise StoreError.of((), rule, f"{redact(url, url)} ({reason})", hint) from error


def _explanation(error: Exception) -> tuple[str, str]:
    """The rule that was broken, and what to do."""
    if isinstance(error, (ImportError, ValueError)):
        return _KNOWN
    return _RULES.get(getattr(error, "errno", None) or 0, _ANSWERS)


def _make(name: str, above: int) -> None:
    """Create a folder for good, unless it is there."""
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=above)
        os.fsync(above)
