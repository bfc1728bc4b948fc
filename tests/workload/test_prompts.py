"""Prompts are sentences that the embedded tiny models know every word of."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from sfumato.workload.prompts import write_prompt

CHECKPOINTS = Path(__file__).parents[2] / "src/sfumato/checkpoints"
# Articles and the like, which the tokenizer drops because the other words carry the meaning.
SILENT = {"a", "an", "the", "in", "at", "to", "corner", "side", "edge"}


def test_a_number_has_one_sentence_and_numbers_differ():
    assert write_prompt(7) == write_prompt(7)
    assert len({write_prompt(number) for number in range(200)}) > 190


@pytest.mark.parametrize(("model", "moving"), [("tiny-image", False), ("tiny-video", True)])
def test_every_word_is_in_the_vocabulary_of_the_tiny_models(model, moving):
    path = CHECKPOINTS / model / "tokenizer/tokenizer.json"
    if not path.exists():
        pytest.skip("the tiny models are not built here")
    known = set(json.loads(path.read_text())["model"]["vocab"])
    sentences = [write_prompt(number, moving=moving).replace(",", "").split() for number in range(500)]
    assert {word for words in sentences for word in words} - known - SILENT == set()
    assert max(sum(word not in SILENT for word in words) for words in sentences) <= 18


def test_articles_agree_with_the_next_word():
    for number in range(300):
        words = write_prompt(number).replace(",", "").split()
        for article, after in pairwise(words):
            if article in ("a", "an"):
                assert (article == "an") == (after[0] in "aeiou"), words


def test_clips_say_what_moves():
    moves = ("moving", "sliding", "flying", "drifting", "growing", "shrinking", "still")
    assert all(any(word in write_prompt(n, moving=True) for word in moves) for n in range(100))
