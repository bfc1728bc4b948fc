"""Counting the tokens of a prompt without torch, from the tokenizer.json of a checkpoint."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.models.readers import READERS

if TYPE_CHECKING:
    from sfumato.models.offer import Offer


def count_tokens(offer: Offer, prompt: str) -> int | None:
    """Tokens of `prompt` with the special tokens, None where the checkpoint has no tokenizer.json."""
    tokenizer = _tokenizer(str(Path(offer.path) / READERS[offer.family].tokenizer / "tokenizer.json"))
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
