"""The word-level tokenizers, in the ordinary fast-tokenizer format so that stock pipelines load them offline.

Lower case, words by letters only, and every word outside the grammar is dropped: a prompt of 20 known words is more
than the grammar can say, so 20 tokens are enough and each one saved is cheaper in every joint attention.
"""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from recipes.tiny.words import VOCABULARY

MAX_TOKENS = 20
# The end token must not have id 2: CLIP takes 2 for an old layout and pools the highest id instead.
SPECIAL = ("<pad>", "<eos>", "<unk>", "<bos>")
PAD, EOS, UNK, BOS = range(4)
# Room for words that a later recipe adds without changing the shape of the embeddings.
VOCABULARY_SIZE = 160


def make_tokenizer(*, with_start: bool) -> PreTrainedTokenizerFast:
    """`with_start` adds the start token that CLIP expects; T5 has only an end."""
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *VOCABULARY))}
    if len(vocabulary) > VOCABULARY_SIZE:
        raise ValueError(f"{len(vocabulary)} words do not fit into {VOCABULARY_SIZE} embeddings")
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    known = "|".join(sorted(VOCABULARY, key=len, reverse=True))
    core.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex("[^a-z]+"), " "),
            normalizers.Replace(Regex(rf"\b(?!(?:{known})\b)[a-z]+\b"), " "),
        ]
    )
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    specials = [("<bos>", BOS), ("<eos>", EOS)]
    single = "<bos> $A <eos>" if with_start else "$A <eos>"
    core.post_processor = processors.TemplateProcessing(single=single, special_tokens=specials)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=MAX_TOKENS,
    )
