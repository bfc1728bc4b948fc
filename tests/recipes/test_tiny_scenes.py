"""The drawn scenes and their captions."""

from __future__ import annotations

import random

from recipes.tiny import words
from recipes.tiny.drawing import draw
from recipes.tiny.scenes import Scene, caption, is_held_out, random_image_scene, random_video_scene
from recipes.tiny.tokens import MAX_TOKENS, make_tokenizer


def test_the_same_seed_draws_the_same_scene_caption_and_pixels() -> None:
    def make(seed: int) -> tuple[Scene, str, bytes]:
        rng = random.Random(seed)
        scene = random_video_scene(rng)
        return scene, caption(scene, rng), draw(scene, height=64, width=80, frames=5).tobytes()

    assert make(3) == make(3)
    assert make(3) != make(4)


def test_a_caption_names_colour_shape_and_background() -> None:
    rng = random.Random(3)
    for _ in range(50):
        scene = random_image_scene(rng)
        said = caption(scene, rng).replace(",", " ").split()
        for thing in scene.things:
            assert set(words.COLOUR_WORDS[thing.colour]) & set(said)
            assert set(words.SHAPE_WORDS[thing.shape]) & set(said)
        assert set(words.COLOUR_WORDS[scene.background]) & set(said)


def test_every_caption_fits_into_the_tokens_and_knows_all_its_words() -> None:
    rng, tokenizer = random.Random(4), make_tokenizer(with_start=True)
    for _ in range(500):
        said = caption(random_image_scene(rng) if rng.random() < 0.5 else random_video_scene(rng), rng)
        ids = tokenizer(said).input_ids
        assert len(ids) <= MAX_TOKENS, said
        assert tokenizer.unk_token_id not in ids


def test_unknown_words_cost_no_tokens() -> None:
    tokenizer = make_tokenizer(with_start=False)
    chatty = tokenizer("Please draw me a NICE red circle!").tokens()
    assert chatty == ["red", "circle", "<eos>"]


def test_held_out_scenes_are_never_trained_on() -> None:
    rng = random.Random(5)
    assert not any(is_held_out(random_image_scene(rng)) for _ in range(200))
    assert all(is_held_out(random_image_scene(rng, held_out=True)) for _ in range(20))
