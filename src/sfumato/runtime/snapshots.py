"""Where the state of jobs lives outside the workers: files in shared memory that any worker of the machine can read.

A job has up to three files: `.static` (written once, after encode), `.latent` (replaced whole after every chunk and now
and then inside long ones; it begins with the steps done), `.pixels` (the output). Files are written aside and renamed,
so that a worker killed at any instant leaves a whole one. This is how a job survives its worker and how it moves.

A server's folder is locked for as long as its controller lives; `claim` removes folders whose lock is free. A lock
tells the living from the dead also across containers, where process ids do not.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import struct
import tempfile
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

PREFIX = "sfumato-"
_SHARED_MEMORY = Path("/dev/shm")
# Docker gives containers 64 MB of shared memory, which a few videos fill; then an ordinary folder serves better.
_ENOUGH_BYTES = 1 << 28
_HEADER = struct.Struct("<4sI")
_MAGIC = b"SFU1"


class Snapshots:
    """The files of one folder. Made by the controller with `claim`, opened by workers by its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, job: str, done: int, latent: bytes) -> None:
        """Replace the job's snapshot by one with `done` steps."""
        self._replace(self._path(job, "latent"), _HEADER.pack(_MAGIC, done), latent)

    def write_static(self, job: str, static: bytes) -> None:
        """Keep what never changes after encode. Write it before the first `write`."""
        self._replace(self._path(job, "static"), static)

    def read(self, job: str) -> bytes:
        """What the last `write` wrote. Raises FileNotFoundError."""
        return self._path(job, "latent").read_bytes()[_HEADER.size :]

    def read_static(self, job: str) -> bytes:
        """What `write_static` wrote. Raises FileNotFoundError."""
        return self._path(job, "static").read_bytes()

    def saved_units(self, job: str) -> int | None:
        """Denoising steps in the job's snapshot; None if it has none."""
        try:
            with self._path(job, "latent").open("rb") as file:
                magic, done = _HEADER.unpack(file.read(_HEADER.size))
        except FileNotFoundError:
            return None
        return int(done) if magic == _MAGIC else None

    def write_output(self, job: str, pixels: NDArray[np.uint8]) -> None:
        """Keep the finished output and drop the snapshot, which nobody needs any more."""
        path = self._path(job, "pixels")
        with path.with_suffix(".tmp").open("wb") as file:
            np.save(file, pixels, allow_pickle=False)
        path.with_suffix(".tmp").rename(path)
        self._unlink(job, "static", "latent")

    def read_output(self, job: str) -> NDArray[np.uint8]:
        """The output, mapped, not copied; it stays readable after `forget`. Raises KeyError if there is none."""
        try:
            return np.asarray(np.load(self._path(job, "pixels"), mmap_mode="r", allow_pickle=False))
        except FileNotFoundError:
            raise KeyError(job) from None

    def forget(self, job: str) -> None:
        """Remove all files of a job."""
        self._unlink(job, "static", "latent", "pixels")

    def _path(self, job: str, kind: str) -> Path:
        return self.folder / f"{quote(job, safe='')}.{kind}"

    def _replace(self, path: Path, *blocks: bytes) -> None:
        aside = f"{path}.tmp"
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            left = sum(map(len, blocks)) - os.writev(handle, blocks)
        finally:
            os.close(handle)
        if left:
            raise OSError(f"no space left for {path}")
        os.rename(aside, path)

    def _unlink(self, job: str, *kinds: str) -> None:
        for kind in kinds:
            self._path(job, kind).unlink(missing_ok=True)


class OwnSnapshots(Snapshots):
    """The store as its owner sees it: locked until `close` removes it."""

    def __init__(self, folder: Path, lock: int) -> None:
        super().__init__(folder)
        self._lock = lock
        atexit.register(self.close)

    def close(self) -> None:
        """Remove the folder and everything in it; safe to call twice."""
        shutil.rmtree(self.folder, ignore_errors=True)
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
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
