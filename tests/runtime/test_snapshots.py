from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sfumato.runtime.snapshots import Snapshots, claim


def test_a_snapshot_is_read_back_by_whoever_opens_the_folder(tmp_path: Path) -> None:
    store = claim(tmp_path)
    assert store.saved_units("a/b") is None
    store.write_static("a/b", b"prompt")
    store.write("a/b", 0, b"noise")
    store.write("a/b", 7, b"latent")
    other = Snapshots(store.folder)
    assert (other.read_static("a/b"), other.read("a/b")) == (b"prompt", b"latent")
    assert other.saved_units("a/b") == 7
    store.close()


def test_a_snapshot_that_is_half_written_does_not_replace_the_last(tmp_path: Path) -> None:
    store = claim(tmp_path)
    store.write_static("a", b"")
    store.write("a", 3, b"whole")
    (store.folder / "a.latent.tmp").write_bytes(b"SF")  # what a worker leaves that is killed while it writes
    assert store.saved_units("a") == 3
    assert store.read("a") == b"whole"
    store.close()


def test_the_snapshot_stays_until_the_output_was_heard_of_and_the_output_outlives_forget(tmp_path: Path) -> None:
    store = claim(tmp_path)
    store.write_static("a", b"")
    store.write("a", 3, b"latent")
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    store.write_output("a", pixels)
    assert store.saved_units("a") == 3
    store.drop_snapshot("a")
    assert store.saved_units("a") is None
    read = store.read_output("a")
    store.forget("a")
    assert (read == pixels).all()
    with pytest.raises(KeyError):
        store.read_output("a")
    assert {path.name for path in store.folder.iterdir()} == {"lock", "spilt"}
    store.close()


def test_names_of_jobs_cannot_leave_the_folder(tmp_path: Path) -> None:
    store = claim(tmp_path / "inner")
    store.write_static("../../evil", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]
    store.close()


def test_claim_removes_the_folders_of_dead_servers_and_no_others(tmp_path: Path) -> None:
    program = "import os, sys; from pathlib import Path; from sfumato.runtime.snapshots import claim; "
    program += "print(claim(Path(sys.argv[1])).folder.name, flush=True); os._exit(1)"
    dead = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False).stdout
    living = claim(tmp_path / "elsewhere")
    living.folder.rename(tmp_path / "sfumato-living")
    assert (tmp_path / dead.strip()).is_dir()
    (tmp_path / "sfumato-unlocked").mkdir()  # without a lock it is not ours
    store = claim(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {store.folder.name, "sfumato-living", "sfumato-unlocked", "elsewhere"}
    store.close()
    store.close()
    assert not store.folder.exists()


def full(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """From now on nothing can be written in these folders."""
    write = os.write

    def refuse(handle: int, data: memoryview) -> int:
        if Path(os.readlink(f"/proc/self/fd/{handle}")).parent in folders:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr(os, "write", refuse)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="nobody says what a handle is of")
def test_what_shared_memory_has_no_room_for_is_spilt_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, pixels = claim(tmp_path), np.arange(4 * 4 * 3, dtype=np.uint8).reshape(1, 4, 4, 3)
    spilt = (store.folder / "spilt").resolve()
    store.write_static("a", b"prompt")
    store.write("a", 1, b"old")
    with monkeypatch.context() as patch:
        full(patch, store.folder)
        store.write("a", 2, b"new")
        assert (store.read("a"), store.saved_units("a"), store.read_static("a")) == (b"new", 2, b"prompt")
        store.write_output("b", pixels)
        assert (Snapshots(store.folder).read_output("b") == pixels).all()
        assert {path.name for path in spilt.iterdir()} == {"a.latent", "b.pixels"}
    store.write("a", 3, b"newer")
    assert (store.read("a"), store.saved_units("a")) == (b"newer", 3)
    store.forget("b")
    assert not list(spilt.iterdir())
    with monkeypatch.context() as patch:
        full(patch, store.folder, spilt)
        with pytest.raises(OSError, match="no space left"):
            store.write("a", 4, b"newest")
    assert store.read("a") == b"newer"
    store.close()
    assert not spilt.exists()
