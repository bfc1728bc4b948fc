"""`sfumato serve` as a process: what its end leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from sfumato.report.journal import entries, tell
from tests.end_to_end.live import PATIENCE_S, until


def waiting_on(port_file: Path) -> str:
    """The address that the server has announced, or nothing yet."""
    words = port_file.read_text().split()
    return next((word for word in words if word.startswith("http://")), "")


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_end_ends_its_requests_and_writes_all_of_it(
    ending: signal.Signals, tmp_path: Path
) -> None:
    words, journal = tmp_path / "words", tmp_path / "journal"
    flags = ["--paced", "--workers", "1", "--port", "0", "--journal", str(journal)]
    with words.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "sfumato", "serve", *flags],
            stderr=out,
            env={**os.environ, "SFUMATO_CACHE": str(tmp_path)},
        )
    try:
        url = until(lambda: waiting_on(words), "the server is up")
        videos = [
            httpx.post(f"{url}/v1/videos", json={"prompt": "a", "model": "sfumato/tiny-video"}).json()["id"]
            for _ in range(3)
        ]
        server.send_signal(ending)
        assert server.wait(PATIENCE_S) == 0
    finally:
        server.kill()
        server.wait()
    lives = tell(entries(journal)).lives
    assert [lives[video].outcome is not None for video in videos] == [True] * 3
