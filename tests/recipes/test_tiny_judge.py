"""The judge reads drawings back, finds what is wrong in them, and the evaluation asks and counts as it says."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recipes.tiny import words
from recipes.tiny.calibrate import calibrate
from recipes.tiny.drawing import draw
from recipes.tiny.exam import EXTENTS, exam
from recipes.tiny.judge import read_picture
from recipes.tiny.judge_clip import read_clip, read_motion
from recipes.tiny.marks import mark, match, names_size, tally
from recipes.tiny.results import load, save, steadiness, table
from recipes.tiny.scenes import Scene, Thing, random_image_scene

RED_STAR = Thing(shape="star", colour="red", size="small", x=0.25, y=0.25, place="top left")
BLUE_RING = Thing(shape="ring", colour="blue", size="medium", x=0.75, y=0.75, place="bottom right")
PAIR = Scene(background="white", things=(RED_STAR, BLUE_RING))


def clip_of(thing: Thing, frames: int = 9) -> NDArray[np.uint8]:
    return draw(Scene(background="white", things=(thing,), moving=True), height=64, width=64, frames=frames)


@pytest.mark.parametrize(("family", "count"), [("image", 40), ("video", 20)])
def test_the_judge_reads_drawings_right_at_every_size(family: str, count: int) -> None:
    for size, counts in calibrate(family, count, seed=1).items():
        for name, (right, asked) in counts.items():
            assert right >= 0.99 * asked, (size, name)


def test_small_stars_and_crosses_are_told_apart_at_the_smallest_size() -> None:
    rng = random.Random(2)
    for _ in range(60):
        scene = random_image_scene(rng, two=0.0)
        thing = replace(scene.things[0], shape=rng.choice(("star", "cross")), size="small")
        scene = replace(scene, things=(thing,))
        assert read_picture(draw(scene, height=64, width=64)[0]).things[0].shape == thing.shape


@pytest.mark.parametrize(
    ("changes", "spoiled"),
    [
        ({"colour": "orange"}, {"colour", "both objects"}),
        ({"shape": "triangle"}, {"shape"}),
        ({"size": "big"}, {"size"}),
        ({"x": 0.5}, {"place", "both objects"}),
    ],
)
def test_one_wrong_detail_costs_its_own_mark_and_no_other(changes: dict[str, Any], spoiled: set[str]) -> None:
    drawn = replace(PAIR, things=(replace(RED_STAR, **changes), BLUE_RING))
    marks = mark(PAIR, read_picture(draw(drawn, height=96, width=96)[0]))
    assert {name for name, good in marks.items() if not good} == spoiled


def test_a_wrong_background_and_a_missing_thing_are_found() -> None:
    drawn = Scene(background="yellow", things=(RED_STAR,))
    marks = mark(PAIR, read_picture(draw(drawn, height=64, width=64)[0]))
    assert not any(marks.values())


@pytest.mark.parametrize(("relation", "right"), [("left of", True), ("right of", False), ("above", True)])
def test_a_relation_is_read_from_the_centres(relation: str, right: bool) -> None:
    things = tuple(replace(thing, place=None) for thing in PAIR.things)
    scene = replace(PAIR, things=things, relation=relation)
    marks = mark(scene, read_picture(draw(PAIR, height=64, width=96)[0]))
    assert marks["relation"] is marks["both objects"] is right


def test_two_shapes_that_touch_are_told_apart_by_their_colours() -> None:
    things = (replace(RED_STAR, x=0.42, y=0.5, size="medium"), replace(BLUE_RING, x=0.62, y=0.5))
    reading = read_picture(draw(Scene(background="white", things=things), height=96, width=96)[0])
    assert {(thing.shape, thing.colour) for thing in reading.things} == {("star", "red"), ("ring", "blue")}


def test_a_blurred_picture_differs_more_from_a_clean_drawing() -> None:
    sharp = draw(PAIR, height=64, width=64)[0]
    blurred = np.mean([np.roll(sharp, step, axis=1) for step in range(-3, 4)], axis=0).astype(np.uint8)
    assert read_picture(sharp).residue < 0.001
    assert read_picture(blurred).residue > 0.02


def test_an_empty_picture_holds_nothing_but_its_background() -> None:
    reading = read_picture(np.full((64, 64, 3), words.COLOURS["navy"], np.uint8))
    assert reading.background == "navy"
    assert reading.things == ()


@pytest.mark.parametrize("grain", [8, 16])
def test_noise_of_any_grain_is_read_without_harm(grain: int) -> None:
    rng = np.random.default_rng(grain)
    noise = rng.integers(0, 256, (3, 64 // grain, 64 // grain, 3), dtype=np.uint8)
    clip = noise.repeat(grain, axis=1).repeat(grain, axis=2)
    assert read_picture(clip[0]).residue > 0.02
    assert read_motion(clip) in {*words.DIRECTIONS, "grow", "shrink", "turn", "still", "lost"}


@pytest.mark.parametrize("motion", [*sorted(words.DIRECTIONS), "grow", "shrink", "turn", "still"])
def test_every_motion_is_told_from_all_others(motion: str) -> None:
    assert read_motion(clip_of(replace(RED_STAR, x=0.5, y=0.5, motion=motion))) == motion


def test_a_thing_seen_in_a_few_frames_only_is_lost() -> None:
    clip = clip_of(RED_STAR)
    clip[:3] = clip[6:] = words.COLOURS["white"]
    reading = read_clip(clip)
    assert reading.things[0].motion == "lost"
    assert steadiness([reading.drifts])["clips under 5%"] == 0.0


@pytest.mark.parametrize("motion", ["right", "grow", "turn", "still"])
def test_what_is_drawn_drifts_by_less_than_two_percent(motion: str) -> None:
    figures = steadiness([read_clip(clip_of(replace(RED_STAR, x=0.5, y=0.5, motion=motion))).drifts])
    assert figures.pop("clips under 5%") == 1.0
    assert all(value < 0.02 for value in figures.values())


def test_flicker_shows_as_drift_of_colour() -> None:
    clip = clip_of(RED_STAR).astype(np.int16)
    clip[::2] -= 40
    drifts = read_clip(clip.clip(0, 255).astype(np.uint8)).drifts
    assert steadiness([drifts])["colour"] > 0.05
    assert steadiness([drifts])["clips under 5%"] == 0.0


def test_a_size_counts_only_where_the_prompt_names_it() -> None:
    assert names_size("a tiny crimson star on white", RED_STAR)
    assert not names_size("a crimson star and a small blue ring", RED_STAR)


def test_things_are_matched_by_colour_before_what_is_left_is_shared_out() -> None:
    star, ring = read_picture(draw(PAIR, height=64, width=64)[0]).things
    star, ring = (star, ring) if star.colour == "red" else (ring, star)
    assert match(PAIR.things, [ring, star]) == [star, ring]
    assert match((replace(RED_STAR, colour="pink"), BLUE_RING), [ring, star]) == [star, ring]
    assert match(PAIR.things, [ring]) == [None, ring]


@pytest.mark.parametrize("family", ["image", "video"])
def test_an_exam_is_the_same_for_a_seed_and_holds_a_third_of_pairs(family: str) -> None:
    scenes, prompts = exam(family, 20, 5)
    assert exam(family, 20, 5) == (scenes, prompts)
    assert exam(family, 20, 6)[1] != prompts
    assert sum(len(scene.things) == 2 for scene in scenes) == 7
    assert len(EXTENTS[family]) == 3


def test_results_go_on_only_for_the_same_weights_and_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("results") / "image.json"
    key = {"weights": "abc", "seed": 1}
    save(path, {"of": key, "sizes": {"64x64": {}}})
    assert load(path, key)["sizes"] == {"64x64": {}}
    assert load(path, {**key, "weights": "def"})["sizes"] == {}


def test_a_table_shows_each_size_and_all_of_them_together() -> None:
    counts = tally([{"colour": True}, {"colour": False, "turn": True}])
    shown = table({"64x64": counts, "96x96": {"colour": [2, 2]}})
    assert "| colour | 50.0% | 100.0% | 75.0% | 4 | 95% |" in shown
    assert "| turn | 100.0% |  | 100.0% | 1 |  |" in shown
