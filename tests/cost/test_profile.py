from pathlib import Path

import msgspec
import pytest

from sfumato.core.values import Stage
from sfumato.cost import Point, Profile, read_profile, read_profiles, write_profile
from sfumato.cost.profile import Held, Peak
from sfumato.errors import ProfileError

PUBLISHED = Path(__file__).parents[2] / "profiles" / "published"

PROFILE = Profile(
    model="m",
    device="cpu",
    hardware="cpu x2, 1 thread a worker",
    kind="measured",
    source="this test",
    date="2026-01-02",
    versions={"torch": "2.13"},
    part_bytes={"abc": 7},
    load_s={"abc": 0.1},
    points=(
        Point(stage=Stage.DIFFUSE, height=64, width=96, frames=9, batch=2, guided=True, seconds=0.1, p10_s=0.09, n=5),
        Point(stage=Stage.DECODE, height=64, width=64, seconds=1 / 3, estimated=True),
    ),
    peaks=(
        Peak(stage=Stage.DECODE, height=64, width=64, bytes=123),
        Peak(stage=Stage.DIFFUSE, height=64, width=96, frames=9, batch=2, guided=True, bytes=456),
    ),
    held=(
        Held(stage=Stage.DIFFUSE, height=64, width=96, frames=9, bytes=78),
        Held(stage=Stage.DIFFUSE, height=64, width=96, frames=9, bytes=99, quality="fast"),
    ),
)


def written(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "p.json"
    path.write_bytes(msgspec.json.encode({**msgspec.to_builtins(PROFILE), **changes}))
    return path


def test_what_was_written_is_read_back_equal_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_profile(tmp_path / "a" / "p.json", PROFILE)
    assert read_profile(tmp_path / "a" / "p.json") == PROFILE
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["p.json"]


def test_a_folder_holds_several_profiles_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_profile(tmp_path / name / "p.json", msgspec.structs.replace(PROFILE, model=name))
    assert [profile.model for profile in read_profiles(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "field", "fix"),
    [
        (
            {"points": [{"stage": "diffuse", "height": 64, "width": 64, "seconds": -1.0}]},
            "points[0].seconds",
            "correct it",
        ),
        ({"points": [{"stage": "diffuse", "height": 64, "seconds": 1.0}]}, "points[0].width", "add it"),
        ({"points": [{"stage": "paint", "height": 64, "width": 64, "seconds": 1.0}]}, "points[0].stage", "correct it"),
        ({"point": []}, "point", "check its spelling"),
        ({"kind": "guessed"}, "kind", "correct it"),
        ({"format": 2}, "format", "correct it"),
        ({"points": [{"stage": "decode", "height": 8, "width": 8, "seconds": 1.0}] * 2}, "points[1]", "keep one"),
    ],
)
def test_a_wrong_file_is_refused_by_file_field_and_fix(
    tmp_path: Path, changes: dict[str, object], field: str, fix: str
) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(ProfileError) as caught:
        read_profile(path)
    assert caught.value.field == field
    assert str(path) in str(caught.value)
    assert field in str(caught.value)
    assert fix in str(caught.value)


def test_files_that_are_no_json_or_absent_or_a_folder_of_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('{"model": "m", ')
    for source, words in ((tmp_path / "cut.json", "truncated"), (tmp_path / "none.json", "check the path")):
        with pytest.raises(ProfileError, match=words):
            read_profiles(source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ProfileError, match=r"no \*\.json"):
        read_profiles(tmp_path / "empty")


def test_every_published_profile_loads_says_whose_it_is_and_holds_no_estimates() -> None:
    profiles = read_profiles(PUBLISHED)
    assert len(profiles) == 11
    for profile in profiles:
        assert profile.kind in ("published", "modelled")
        assert profile.source
        assert profile.device != "cpu"
        assert not any(point.estimated for point in profile.points)
    modelled = {profile.source[:17] for profile in profiles if profile.kind == "modelled"}
    assert modelled == {"NOT a measurement"}
