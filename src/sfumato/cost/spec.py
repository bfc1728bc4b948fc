"""A model to simulate, from nothing but its profile."""

from __future__ import annotations

from sfumato.core.values import ModelSpec, Stage, StageSpec
from sfumato.cost.profile import Profile


def spec_of(profile: Profile) -> ModelSpec:
    """The degrees, halves and batches that the profile holds; without `parts` every rank can run every stage."""
    return ModelSpec(
        name=profile.model,
        encode=_stage(profile, Stage.ENCODE),
        diffuse=_stage(profile, Stage.DIFFUSE),
        decode=_stage(profile, Stage.DECODE),
        part_bytes=profile.part_bytes,
        frame_stride=profile.frame_stride,
        lone_first=profile.lone_first,
    )


def _stage(profile: Profile, stage: Stage) -> StageSpec:
    points = [point for point in profile.points if point.stage is stage]
    degrees = tuple(sorted({point.degree for point in points if point.cfg == 1})) or (1,)
    return StageSpec(
        parts=profile.parts.get(stage, ()),
        degrees=degrees,
        max_batch=max((point.batch for point in points), default=1),
        packs=stage is Stage.ENCODE or (profile.packs and stage is Stage.DIFFUSE),
        halves=any(point.cfg == 2 for point in points),
    )
