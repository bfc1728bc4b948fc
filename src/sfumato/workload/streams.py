"""Seeded random streams, one a name: drawing more from one never changes another.

The same seed and name give the same numbers in every process. Two workloads that differ in one aspect (the rate, say)
share all other draws, so comparisons are paired.
"""

from __future__ import annotations

from zlib import crc32

from numpy.random import PCG64, Generator, SeedSequence


def stream(seed: int, name: str) -> Generator:
    """The stream `name` of a seed."""
    return Generator(PCG64(SeedSequence(entropy=seed, spawn_key=(crc32(name.encode()),))))
