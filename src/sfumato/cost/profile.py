"""A profile: what the stages of one model take on one kind of device, and the file it is kept in.

A file is JSON with one profile; a folder may hold several. Rules: seconds are per unit of a stage (a denoising step, a
unit of decode, one encode); a file says who measured it (`kind`, `source`) and marks every point that is an estimate;
unknown keys are errors. What reads the numbers is `cost.table`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from sfumato.core.values import EXACT, PartId, Shape, Stage, Value
from sfumato.errors import ProfileError

Kind = Literal["measured", "published", "modelled"]
Seconds = Annotated[float, Meta(gt=0.0)]
Share = Annotated[float, Meta(gt=0.0, le=1.0)]
Count = Annotated[int, Meta(ge=1)]
Bytes = Annotated[int, Meta(ge=0)]

FIXES = {
    "unknown": "remove it or check its spelling",
    "missing": "add it",
    "malformed": "write JSON, or measure again with `sfumato profile`",
    "twice": "keep one of the two",
}


class Sized(Value, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A stage and a shape in pixels and frames."""

    stage: Stage
    height: Count
    width: Count
    frames: Count = 1

    @property
    def shape(self) -> Shape:
        return Shape(height=self.height, width=self.width, frames=self.frames)


class Measured(Sized, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a number was measured for: a stage, a shape, ranks, batch, one or two passes a step.

    With `cfg` 2 the passes were taken by the two halves of the ranks.
    """

    degree: Count = 1
    batch: Count = 1
    guided: bool = False
    cfg: Count = 1

    @property
    def key(self) -> tuple[Stage, Shape, int, int, bool, int]:
        """What there may be only one point for, and one peak."""
        return self.stage, self.shape, self.degree, self.batch, self.guided, self.cfg


class Point(Measured, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Seconds of one unit: the median of `n` measurements, with its 10th and 90th percentile where they are known."""

    seconds: Seconds
    p10_s: Seconds | None = None
    p90_s: Seconds | None = None
    n: Annotated[int, Meta(ge=0)] = 0
    estimated: bool = False


class Mixed(Value, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Seconds of one denoising step of a batch of unlike shapes, as in Point."""

    shapes: tuple[Shape, ...]
    degree: Count = 1
    guided: bool = False
    seconds: Seconds
    p10_s: Seconds | None = None
    p90_s: Seconds | None = None
    n: Annotated[int, Meta(ge=0)] = 0

    @property
    def key(self) -> tuple[tuple[Shape, ...], int, bool]:
        """What there is one measurement for."""
        return self.shapes, self.degree, self.guided


class Peak(Measured, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Bytes that a running chunk takes on each of its ranks, beyond weights and held state."""

    bytes: Bytes


class Held(Sized, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Bytes that a job keeps between two units of a stage; a decode may keep more than the steps before it.

    With a `quality` below exact steps also keep what stands in for the next ones.
    """

    bytes: Bytes
    quality: str = EXACT

    @property
    def key(self) -> tuple[Stage, Shape, str]:
        """What there is one weight for."""
        return self.stage, self.shape, self.quality


class Profile(Value, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One model on one kind of device. `device` is what ranks call themselves, `hardware` says it for people.

    `steps` are those of a usual request: what estimates of unmeasured stages rest on. `frame_stride` > 0 says that
    decode was measured by so many frames (`lone_first` as in ModelSpec); `parts` and `packs` are of a model that only
    its profile describes: the weight parts of each stage, and whether a batch of steps may mix shapes. `reuse` has for
    qualities below exact the share of the steps' seconds that is left when they are reused.
    """

    format: Literal[1] = 1
    model: str
    device: str
    hardware: str = ""
    kind: Kind
    source: str
    note: str = ""
    axes: str = ""
    date: str = ""
    command: str = ""
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    steps: Count = 28
    frame_stride: Annotated[int, Meta(ge=0)] = 0
    lone_first: bool = True
    launch_gap_s: Annotated[float, Meta(ge=0.0)] = 0.001
    packs: bool = False
    parts: dict[Stage, tuple[PartId, ...]] = msgspec.field(default_factory=dict)
    part_bytes: dict[PartId, Bytes] = msgspec.field(default_factory=dict)
    load_s: dict[PartId, Seconds] = msgspec.field(default_factory=dict)
    reuse: dict[str, Share] = msgspec.field(default_factory=dict)
    points: tuple[Point, ...]
    mixed: tuple[Mixed, ...] = ()
    peaks: tuple[Peak, ...] = ()
    held: tuple[Held, ...] = ()


_DECODER = msgspec.json.Decoder(Profile)


def read_profiles(*sources: str | Path) -> tuple[Profile, ...]:
    """The profiles of these files and folders (all their *.json, at any depth), in the order of their paths."""
    return tuple(read_profile(path) for source in sources for path in _files(Path(source).expanduser()))


def read_profile(path: str | Path) -> Profile:
    """One file. Raises ProfileError that names the file, the field and the fix."""
    try:
        profile = _DECODER.decode(Path(path).read_bytes())
    except OSError as error:
        raise ProfileError(
            f"profile {path}: cannot be read ({error.strerror}); check the path", field="profile"
        ) from error
    except msgspec.ValidationError as error:
        raise _invalid(path, str(error)) from error
    except msgspec.DecodeError as error:
        raise ProfileError(f"profile {path}: {error}; {FIXES['malformed']}", field="profile") from error
    _check_twice(path, profile)
    return profile


def write_profile(path: str | Path, profile: Profile) -> None:
    """Write a file whole or not at all, a point a line."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".part")
    fresh.write_bytes(encode_profile(profile))
    fresh.replace(path)


def encode_profile(profile: Profile) -> bytes:
    """The text of a profile file; equal profiles give equal bytes."""
    fields = {"format": 1} | msgspec.to_builtins(profile)
    lines = ",\n".join(f" {_json(name)}: {_lines(value)}" for name, value in fields.items())
    return f"{{\n{lines}\n}}\n".encode()


def _lines(value: Any) -> str:
    if not isinstance(value, list | tuple) or not value:
        return _json(value)
    return "[\n" + ",\n".join(f"  {_json(item)}" for item in value) + "\n ]"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _files(source: Path) -> Iterable[Path]:
    if not source.is_dir():
        return (source,)
    found = sorted(source.rglob("*.json"))
    if not found:
        raise ProfileError(f"profile {source}: the folder holds no *.json; give a profile file", field="profile")
    return found


def _invalid(path: str | Path, message: str) -> ProfileError:
    what, _, place = message.partition(" - at `$")
    field = place.rstrip("`").lstrip(".")
    named = re.search(r"field `(\w+)`", what)
    if named:
        field = f"{field}.{named[1]}" if field else named[1]
    fix = next(
        (fix for word, fix in FIXES.items() if word in what), "correct it or measure again with `sfumato profile`"
    )
    return ProfileError(f"profile {path}: {field or 'the file'}: {what}; {fix}", field=field or "profile")


def _check_twice(path: str | Path, profile: Profile) -> None:
    seen: dict[Any, int] = {}
    for place, point in enumerate(profile.points):
        first = seen.setdefault(point.key, place)
        if first != place:
            message = f"profile {path}: points[{place}]: measures the same as points[{first}]; {FIXES['twice']}"
            raise ProfileError(message, field=f"points[{place}]")
