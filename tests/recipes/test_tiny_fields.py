"""The fields that the tiny models' latents hold."""

from __future__ import annotations

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from recipes.tiny import words
from recipes.tiny.drawing import draw
from recipes.tiny.fields import (
    AMPLITUDE,
    CELL,
    EDGE,
    FORMS,
    IMAGE_CHANNELS,
    REACH,
    STRIDE,
    VIDEO_CHANNELS,
    clip_fields,
    picture_fields,
)
from recipes.tiny.scenes import Scene, Thing, random_image_scene


def _scene(**change: object) -> Scene:
    thing = Thing(**{"shape": "star", "colour": "red", "size": "big", "x": 0.5, "y": 0.5} | change)
    return Scene(background="white", things=(thing,), moving=thing.motion != "still")


def test_the_forms_are_the_shapes_of_the_grammar_and_all_differ() -> None:
    assert set(FORMS) == set(words.SHAPE_WORDS)
    assert len(set(FORMS.values())) == len(FORMS)


def test_fields_have_a_value_for_each_cell_and_latent_frame() -> None:
    assert picture_fields([_scene()] * 2, height=64, width=96).shape == (2, IMAGE_CHANNELS, 8, 12)
    assert clip_fields([_scene()], height=64, width=80, frames=17).shape == (1, VIDEO_CHANNELS, 5, 8, 10)


def test_ground_and_ink_are_the_colours_of_the_drawing() -> None:
    rng = random.Random(0)
    for _ in range(20):
        scene = random_image_scene(rng, two=0.0)
        fields, pixels = picture_fields([scene], height=96, width=96)[0], draw(scene, height=96, width=96)[0]
        assert _bytes(fields[0:3, 0, 0]) == pixels[0, 0].tolist()
        assert _bytes(fields[3:6, 0, 0]) == list(words.COLOURS[scene.things[0].colour])


@pytest.mark.parametrize("side", [64, 160])
def test_the_local_point_is_measured_from_the_centre_in_radii(side: int) -> None:
    u, v = picture_fields([_scene()], height=side, width=side)[0, 9:11]
    middle = side // CELL // 2
    radius = words.SIZES["big"] * side
    assert u[middle, middle] == pytest.approx(CELL / 2 / radius, abs=1e-5)
    assert v[middle, middle] - v[middle - 1, middle] == pytest.approx(CELL / radius, abs=1e-5)


def test_the_local_point_is_cut_off() -> None:
    u = picture_fields([_scene(size="small")], height=160, width=160)[0, 9]
    assert (u.min(), u.max()) == (-REACH, REACH)


def test_where_two_shapes_meet_each_cell_tells_of_the_nearer() -> None:
    left, right = (Thing(shape="ring", colour=c, size="small", x=x, y=0.5) for c, x in (("red", 0.25), ("blue", 0.75)))
    ink = picture_fields([Scene(background="white", things=(left, right))], height=64, width=64)[0, 3:6]
    assert _bytes(ink[:, 4, 3]) == list(words.COLOURS["red"])
    assert _bytes(ink[:, 4, 4]) == list(words.COLOURS["blue"])


def test_the_edge_is_negative_where_there_is_ink() -> None:
    edge = picture_fields([_scene(shape="circle", x=0.25)], height=64, width=64)[0, EDGE]
    assert (edge[:, 3:5, 2] < 0).all()
    assert (edge[:, :, 6:] == AMPLITUDE).all()


def test_a_moving_shape_carries_its_local_point_along() -> None:
    fields = clip_fields([_scene(motion="right")], height=96, width=96, frames=9)[0]
    crossing = [float(np.interp(0.0, frame[9, 6], np.arange(12))) for frame in fields.swapaxes(0, 1)]
    steps = np.diff(crossing) * CELL / 96
    assert len(crossing) == 1 + 8 // STRIDE
    assert np.allclose(steps, 0.46 / 2, atol=0.02)


def test_a_latent_frame_also_tells_where_the_shape_was_in_the_frames_before() -> None:
    before = clip_fields([_scene(motion="right")], height=96, width=96, frames=9)[0, 18::6, 1, 6]
    crossing = [float(np.interp(0.0, row, np.arange(12))) * CELL / 96 for row in before]
    assert np.allclose(np.diff(crossing), -0.46 / 8, atol=0.01)


def test_time_runs_from_the_first_frame_to_the_last() -> None:
    assert clip_fields([_scene()], height=64, width=64, frames=13)[0, IMAGE_CHANNELS, :, 0, 0] == pytest.approx(
        [-REACH, -REACH / 3, REACH / 3, REACH]
    )


def _bytes(colour: NDArray[np.float32]) -> list[int]:
    return np.rint((colour / AMPLITUDE + 1.0) * 127.5).astype(int).tolist()
