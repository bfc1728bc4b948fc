"""What a weighed chunk adds to a profile: the peak of its setting, and what a job of its shape holds.

Rules: of several ranks the largest counts; nothing is written of what they do not know (paced workers, a CPU that is
not Linux's). Encode makes what the steps keep, so only those and decode have a `Held`; of the settings of a shape the
one that holds most (guidance has a second conditioning) speaks for it. Of qualities below exact only that is written.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import convert
from msgspec.structs import replace

from sfumato.core.values import EXACT, Stage
from sfumato.cost.profile import Held, Peak, Profile
from sfumato.profiling.bench import Timed
from sfumato.profiling.grid import Setting


def with_weight(profile: Profile, setting: Setting, weighed: Sequence[Timed]) -> Profile:
    """The profile with what these chunks of a setting took at most."""
    most = max(one.peak_bytes for one in weighed)
    if most and setting.quality == EXACT:
        profile = replace(profile, peaks=(*profile.peaks, convert({**setting.fields(), "bytes": most}, Peak)))
    most = max(one.held_bytes for one in weighed)
    if most and setting.stage is not Stage.ENCODE:
        profile = replace(profile, held=_merged(profile.held, _held(setting, most)))
    return profile


def _held(setting: Setting, most: int) -> Held:
    shape = setting.shape
    where = {"height": shape.height, "width": shape.width, "frames": shape.frames}
    return Held(stage=setting.stage, **where, bytes=most, quality=setting.quality)


def _merged(there: tuple[Held, ...], fresh: Held) -> tuple[Held, ...]:
    """With `fresh`, or with the larger of it and the one of the same stage, shape and quality."""
    same = [held for held in there if held.key == fresh.key]
    others = tuple(held for held in there if held not in same)
    return (*others, max([fresh, *same], key=lambda held: held.bytes))
