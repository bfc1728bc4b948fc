"""`sfumato generate` on a paced worker, which draws one colour: what lies in the file, and what is refused at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import pytest
from click.testing import CliRunner
from PIL import Image

from sfumato.cli import cli
from sfumato.errors import SfumatoError

PACED = "[workers]\nkind = 'paced'\n"


@pytest.fixture
def paced(tmp_path: Path) -> Path:
    path = tmp_path / "paced.toml"
    path.write_text(PACED)
    return path


def generate(*words: str | Path) -> str:
    """What it prints. Raises what it raises."""
    result = CliRunner().invoke(cli, ["generate", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_picture_of_the_size_asked_for_lies_in_the_file(tmp_path: Path, paced: Path) -> None:
    out = tmp_path / "new" / "circle.png"
    asked = ("--size", "128x96", "--steps", "2", "--seed", "3", "--quality", "fast")
    said = generate("a red circle", "--config", paced, *asked, "-o", out)
    assert "(seed 3)" in said
    with Image.open(out) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (128, 96))


def test_a_video_of_the_frames_asked_for_lies_in_the_file(tmp_path: Path, paced: Path) -> None:
    out = tmp_path / "moves.mp4"
    generate("a red circle moves left", "--config", paced, "--frames", "9", "--steps", "2", "-o", out)
    with av.open(str(out)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 9


def test_a_policy_of_the_users_own_is_found_in_the_folder_that_the_command_is_run_in(
    tmp_path: Path, paced: Path
) -> None:
    (tmp_path / "own.py").write_text("from sfumato.policies.fixed import Fixed as Mine\n")
    script = Path(sys.executable).with_name("sfumato")
    words = ("generate", "x", "--config", str(paced), "--policy", "own:Mine", "--steps", "1", "--seed", "4")
    run = subprocess.run([str(script), *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "sfumato-4.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--size", "big"), "--size: 'big'"),
        (("--size", "70x64"), "size: 70x64 is not offered"),
        (("--steps", "0"), "steps: 0"),
        (("--frames", "10"), "num_frames: 10"),
        (("--frames", "9", "-o", "x.png"), "use .mp4"),
        (("--video", "-o", "x"), "use .mp4"),
        (("-o", "x.gif"), "use .png or .jpg"),
        (("-o", "/dev/null/x.png"), "--out: /dev/null cannot be made"),
        (("--model", "sfumato/tiny-image", "--video", "-o", "x.mp4"), "use .png"),
    ],
)
def test_what_cannot_be_drawn_is_said_before_a_worker_starts(words: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(SfumatoError, match=complaint):
        generate("a red circle", *words)
