"""Where the state of jobs lives outside the workers: files in shared memory that any worker of the machine can read.

A job has up to three files: `.static` (written once, after encode), `.latent` (replaced whole after every chunk and now
and then inside long ones; it begins with the steps done), `.pixels` (the output). Files are written aside and renamed,
so that a worker killed at any instant leaves a whole one. This is how a job survives its worker and how it moves: from
rank to rank without the controller. What shared memory has no room for goes to a folder on the disk.

A server's folder is locked for as long as its controller lives; `claim` removes folders whose lock is free. A lock
tells the living from the dead also across containers, where process ids do not.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import shutil
import struct
import tempfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

PREFIX, SPILT_PREFIX = "sfumato-", "spilt-sfumato-"
_SPILT = "spilt"  # a link in the store's folder
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.ENOENT)  # the last: there is no folder to spill to
Block = bytes | memoryview
_SHARED_MEMORY = Path("/dev/shm")
# Docker gives containers 64 MB of shared memory, which a few videos fill; then an ordinary folder serves better.
_ENOUGH_BYTES = 1 << 28
_HEADER = struct.Struct("<4sI")
_MAGIC = b"SFU1"


class Snapshots:
    """The files of one folder. Made by the controller with `claim`, opened by workers by its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._spilt = folder / _SPILT

    def write(self, job: str, done: int, latent: bytes) -> None:
        """Replace the job's snapshot by one with `done` steps."""
        self._replace(self._path(job, "latent"), _HEADER.pack(_MAGIC, done), latent)

    def write_static(self, job: str, static: bytes) -> None:
        """Keep what never changes after encode. Write it before the first `write`."""
        self._replace(self._path(job, "static"), static)

    def read(self, job: str) -> bytes:
        """What the last `write` wrote. Raises FileNotFoundError."""
        return self._where(job, "latent").read_bytes()[_HEADER.size :]

    def read_static(self, job: str) -> bytes:
        """What `write_static` wrote. Raises FileNotFoundError."""
        return self._where(job, "static").read_bytes()

    def saved_units(self, job: str) -> int | None:
        """Denoising steps in the job's snapshot; None if it has none."""
        try:
            with self._where(job, "latent").open("rb") as file:
                magic, done = _HEADER.unpack(file.read(_HEADER.size))
        except FileNotFoundError:
            return None
        return int(done) if magic == _MAGIC else None

    def write_output(self, job: str, pixels: NDArray[np.uint8]) -> None:
        """Keep the finished output. The snapshot stays until its owner has heard of it: see `drop_snapshot`."""
        head = BytesIO()
        np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(pixels))
        self._replace(self._path(job, "pixels"), head.getvalue(), np.ascontiguousarray(pixels).reshape(-1).data)

    def drop_snapshot(self, job: str) -> None:
        """Remove a job's snapshot, which nobody needs any more."""
        self._unlink(job, "static", "latent")

    def read_output(self, job: str) -> NDArray[np.uint8]:
        """The output, mapped, not copied; it stays readable after `forget`. Raises KeyError if there is none."""
        try:
            return np.asarray(np.load(self._where(job, "pixels"), mmap_mode="r", allow_pickle=False))
        except FileNotFoundError:
            raise KeyError(job) from None

    def forget(self, job: str) -> None:
        """Remove all files of a job."""
        self._unlink(job, "static", "latent", "pixels")

    def _path(self, job: str, kind: str) -> Path:
        return self.folder / f"{quote(job, safe='')}.{kind}"

    def _where(self, job: str, kind: str) -> Path:
        """The file, which may have been spilt. There is one of the two at most, but for an instant."""
        path = self._path(job, kind)
        return path if path.exists() else self._spilt / path.name

    def _replace(self, path: Path, *blocks: Block) -> None:
        spilt = self._spilt / path.name
        if _write(path, *blocks):
            spilt.unlink(missing_ok=True)
        elif _write(spilt, *blocks):
            path.unlink(missing_ok=True)
        else:
            raise OSError(f"no space left for {path}, nor in {self._spilt.resolve()}")

    def _unlink(self, job: str, *kinds: str) -> None:
        for kind in kinds:
            path = self._path(job, kind)
            path.unlink(missing_ok=True)
            (self._spilt / path.name).unlink(missing_ok=True)


def _write(path: Path, *blocks: Block) -> bool:
    """Write a file aside and rename it; False if there is no room."""
    aside = f"{path}.tmp"
    try:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            for block in blocks:
                left = memoryview(block)
                while left:
                    left = left[os.write(handle, left) :]
        finally:
            os.close(handle)
    except OSError as error:
        with suppress(FileNotFoundError):
            os.unlink(aside)
        if error.errno not in _NO_ROOM:
            raise
        return False
    os.rename(aside, path)
    return True


class OwnSnapshots(Snapshots):
    """The store as its owner sees it: locked until `close` removes it."""

    def __init__(self, folder: Path, lock: int) -> None:
        super().__init__(folder)
        self._lock = lock
        atexit.register(self.close)

    def close(self) -> None:
        """Remove the folder and everything in it; safe to call twice."""
        _remove(self.folder)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        atexit.unregister(self.close)


def claim(parent: Path | None = None) -> OwnSnapshots:
    """A new folder below `parent` (shared memory where there is enough), with what dead servers left there removed."""
    parent = parent or _place()
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    aside = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=parent))
    (aside / _SPILT).symlink_to(tempfile.mkdtemp(prefix=SPILT_PREFIX))
    lock = os.open(aside / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return OwnSnapshots(aside.rename(parent / aside.name[1:]), lock)  # only now can a sweep see it


def _place() -> Path:
    try:
        space = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return Path(tempfile.gettempdir())
    enough = space.f_bavail * space.f_frsize >= _ENOUGH_BYTES and os.access(_SHARED_MEMORY, os.W_OK)
    return _SHARED_MEMORY if enough else Path(tempfile.gettempdir())


def sweep(parent: Path) -> None:
    """Remove the folders of dead servers."""
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            lock = os.open(folder / "lock", os.O_RDWR)
        except OSError:
            continue  # not ours: another user's, or no server's folder
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # its server lives
        else:
            _remove(folder)
        finally:
            os.close(lock)


def _remove(folder: Path) -> None:
    """A store's folder and what it spilt; of a link only what `claim` made it to."""
    spilt = folder / _SPILT
    if spilt.is_symlink() and spilt.readlink().name.startswith(SPILT_PREFIX):
        shutil.rmtree(spilt.readlink(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
