"""The engine of packing and sequence parallelism, on plain tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from sfumato.models.attention import Partial, Segments, merged, partial_attention
from sfumato.models.sequence import Pack

from .threads import Seat, Table, on_group, on_ranks

HEADS, WIDTH = 4, 8
GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
DEVICES = ["cpu", pytest.param("cuda", marks=GPU)]
# of each stream the tokens of each member of the batch
BATCHES = [
    pytest.param([(12,)], id="one stream of one"),
    pytest.param([(5, 12, 2)], id="one stream of three"),
    pytest.param([(3,), (10,)], id="two streams of one"),
    pytest.param([(3, 5, 4), (10, 1, 7)], id="two streams of three"),
    pytest.param([(1,), (2,)], id="fewer tokens than ranks"),
    pytest.param([(4, 0, 3), (6, 8, 0)], id="none of a stream"),
]
SIZES = [1, 2, 4, 3, 6]  # the last two in a ring: of single ranks, and of three pairs that share the heads


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def streams(lengths: list[tuple[int, ...]], seed: int) -> list[list[Tensor]]:
    """Random [1, tokens, heads, width] for each member of each stream."""
    return [
        [random(100 * seed + 10 * stream + i, 1, tokens, HEADS, WIDTH) for i, tokens in enumerate(each)]
        for stream, each in enumerate(lengths)
    ]


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Of [1, tokens, heads, width]."""
    return scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)


def alone(kept: list[list[list[Tensor]]]) -> list[Tensor]:
    """What each member's tokens of all streams see of each other, member by member."""
    return [
        attention(*(torch.cat(parts, dim=1) for parts in (list(part) for part in of_member)))
        for of_member in zip(*(list(zip(*each, strict=True)) for each in kept), strict=True)
    ]


def own(pack: Pack, parts: list[list[Tensor]]) -> Tensor:
    """The own tokens of all streams."""
    return torch.cat([pack.shard(part, stream) for stream, part in enumerate(parts)], dim=1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("lengths", BATCHES)
def test_tokens_attend_to_those_of_their_own_member_and_to_no_others(lengths: list[tuple[int, ...]], size: int) -> None:
    kept = [streams(lengths, seed) for seed in range(3)]

    def work(group: Any) -> list[list[Tensor]]:
        pack = Pack(*lengths, group=group)
        seen = pack.attend(*(own(pack, parts) for parts in kept))
        cuts = seen.split([pack.shard(part, stream).shape[1] for stream, part in enumerate(kept[0])], dim=1)
        return [pack.gather(cut, stream) for stream, cut in enumerate(cuts)]

    results = on_group(size, work)
    for stream_by_member in results:
        for expected, *parts in zip(alone(kept), *stream_by_member, strict=True):
            assert torch.allclose(torch.cat(parts, dim=1), expected, atol=1e-6)
    for other in results[1:]:
        assert all(torch.equal(a, b) for x, y in zip(results[0], other, strict=True) for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("lengths", BATCHES)
def test_what_is_sharded_comes_back_whole(lengths: list[tuple[int, ...]], size: int) -> None:
    (kept,) = [streams(lengths, 0)]

    def work(group: Any) -> bool:
        pack = Pack(*lengths, group=group)
        back = [pack.gather(pack.shard(parts, stream), stream) for stream, parts in enumerate(kept)]
        return all(torch.equal(a, b) for x, y in zip(kept, back, strict=True) for a, b in zip(x, y, strict=True))

    assert on_group(size, work) == [True] * size


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("lengths", BATCHES)
def test_each_token_is_told_whose_it_is_and_padding_counts_for_the_last(
    lengths: list[tuple[int, ...]], size: int
) -> None:
    def work(group: Any) -> bool:
        pack = Pack(*lengths, group=group)
        told = []
        for stream, tokens in enumerate(lengths):
            whose = torch.arange(len(tokens)).repeat_interleave(torch.tensor(tokens))
            padded = torch.cat([whose, torch.full((-len(whose) % size,), len(tokens) - 1)])
            mine = padded.split(max(1, len(padded) // size))[pack.rank] if len(padded) else padded
            s = len(mine)
            assert pack.own(stream) == [int((mine == member).sum()) for member in range(len(tokens))]
            assert pack.present(stream) == sorted(set(mine.tolist()))
            told.append(mine)
            values = pack.each(torch.arange(len(tokens))[:, None], stream)
            assert torch.equal(values.expand(1, s, 1), mine[None, :, None])
        every = torch.cat(told)
        return torch.equal(pack.each(torch.arange(pack.members)[:, None]).expand(1, len(every), 1)[0, :, 0], every)

    assert on_group(size, work) == [True] * size


@pytest.mark.parametrize("size", SIZES)
def test_nothing_sees_the_padding(size: int) -> None:
    lengths = [(3, 2), (5, 4)]
    kept = [streams(lengths, seed) for seed in range(3)]

    def work(group: Any) -> list[Tensor]:
        pack = Pack(*lengths, group=group)
        spoiled = []
        for parts in kept:
            slices = [pack.shard(part, stream).clone() for stream, part in enumerate(parts)]
            for stream, piece in enumerate(slices):
                real = sum(lengths[stream]) - pack.rank * piece.shape[1]
                piece[:, max(real, 0) :] = torch.nan
            spoiled.append(torch.cat(slices, dim=1))
        return pack.gather(pack.attend(*spoiled)[:, : pack.shard(kept[0][0], 0).shape[1]], 0)

    for parts in on_group(size, work):
        for part, expected in zip(parts, alone(kept), strict=True):
            assert torch.allclose(part, expected[:, : part.shape[1]], atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_own_tokens_read_the_text_of_the_members_that_they_belong_to(size: int) -> None:
    lengths, texts = (5, 12, 2), (4, 3, 6)
    (q,), (k,), (v,) = streams([lengths], 0), streams([texts], 1), streams([texts], 2)

    def work(group: Any) -> list[Tensor]:
        pack = Pack(lengths, group=group)
        read = pack.present()
        keys, values = (torch.cat([x[i] for i in read], dim=1) for x in (k, v))
        return pack.gather(pack.attend_to(pack.shard(q), keys, values, [texts[i] for i in read]))

    for parts in on_group(size, work):
        for part, expected in zip(parts, map(attention, q, k, v), strict=True):
            assert torch.allclose(part, expected, atol=1e-6)


def test_two_halves_of_a_group_gather_both_of_their_packs() -> None:
    lengths = (3, 4)
    sides = [streams([lengths], seed)[0] for seed in range(2)]

    def work(group: Any) -> bool:
        pack = Pack(lengths, group=group.split(2), across=group)
        gathered = pack.gather(pack.shard(sides[group.rank // 2]))
        return all(torch.equal(a, b) for a, b in zip(gathered, [*sides[0], *sides[1]], strict=True))

    assert on_group(4, work) == [True] * 4


def test_a_rank_of_a_ring_holds_its_own_block_and_one_that_passes() -> None:
    """What goes round is a run's share of keys and values with a rank's heads, one block less often than there are."""
    shifted: list[tuple[int, int]] = []

    class Counting(Seat):
        def shift(self, part: Tensor, by: int) -> Tensor:
            shifted.append((part.numel(), by))
            return super().shift(part, by)

    def work(rank: int) -> None:
        pack = Pack((10,), (2,), group=Counting(table, rank))
        tokens = torch.zeros(1, 3, HEADS, WIDTH)
        pack.attend(tokens, tokens, tokens)

    table = Table(6)
    on_ranks(6, work, [table])
    assert shifted == [(2 * (2 * 3) * (HEADS // 2) * WIDTH, 2)] * 6 * 2


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_seen_of_parts_of_the_keys_merges_to_what_is_seen_of_all(dtype: torch.dtype, device: str) -> None:
    q, k, v = (
        random(0, 5, HEADS, 12).to(device, dtype),
        9 * random(1, 9, HEADS, 12).to(device, dtype),
        random(2, 9, HEADS, 12).to(device, dtype),
    )
    found: Partial | None = None
    for begin, end in ((6, 9), (0, 1), (1, 6)):
        found = merged(found, partial_attention(q, k[begin:end], v[begin:end]))
    assert found is not None
    scores = torch.einsum("qhd,khd->qhk", q.double(), k.double()) * 12**-0.5
    exact = torch.einsum("qhk,khd->qhd", scores.softmax(-1), v.double())
    assert (found.weight - scores.logsumexp(-1)).abs().max() < 1e-4
    assert (found.seen - exact).abs().max() < (1e-5 if dtype is torch.float32 else 2e-2)


def test_a_segment_without_queries_is_left_out() -> None:
    q, k = random(0, 5, HEADS, WIDTH), random(1, 9, HEADS, WIDTH)
    seen = Segments([2, 0, 3], [4, 2, 3]).attend(q, k, k)
    first = attention(q[None, :2], k[None, :4], k[None, :4])[0]
    last = attention(q[None, 2:], k[None, 6:], k[None, 6:])[0]
    assert torch.allclose(seen, torch.cat([first, last]), atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_segments_in_half_precision_are_those_of_whole_precision_but_for_its_rounding(device: str) -> None:
    """On a GPU all of them are one call of another kernel."""
    q, k, v = (random(seed, 9, HEADS, 64) for seed in range(3))
    exact = Segments([2, 3, 4]).attend(q, k, v)
    seen = Segments([2, 3, 4]).attend(*(x.to(device, torch.bfloat16) for x in (q, k, v)))
    assert seen.dtype is torch.bfloat16
    assert (seen.float().cpu() - exact).abs().max() < 3e-2
