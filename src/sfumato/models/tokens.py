"""Counting the tokens of a prompt without torch, from the tokenizer.json of a checkpoint."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfumato.models.offer import Offer

# The tokenizer whose length is the limit: Flux truncates its second (T5) prompt there, CLIP always at 77.
FOLDERS = {"flux": "tokenizer_2", "wan": "tokenizer"}


def count_tokens(offer: Offer, prompt: str) -> int | None:
    """Tokens of `prompt` with the special tokens, None where the checkpoint has no tokenizer.json."""
    tokenizer = _tokenizer(str(Path(offer.path) / FOLDERS[offer.family] / "tokenizer.json"))
    return None if tokenizer is None else len(tokenizer.encode(prompt).ids)


@lru_cache(maxsize=16)
def _tokenizer(path: str) -> Any:
    from tokenizers import Tokenizer

    if not Path(path).is_file():
        return None
    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_truncation()  # saved tokenizers remember the truncation and padding of their last call
    tokenizer.no_padding()
    return tokenizer
