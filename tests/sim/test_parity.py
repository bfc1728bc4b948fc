"""P1 to P3: the planner that serves is the planner that is simulated."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from hypothesis import given

from sfumato.core.events import AnyEvent
from sfumato.core.journal import Entry, encode
from sfumato.core.values import Outcome
from sfumato.policies import POLICIES
from sfumato.runtime.driver import Driver
from sfumato.runtime.fake import FakeCluster
from sfumato.runtime.virtual import VirtualLoop
from sfumato.sim import Simulation
from tests.costs import PlainCosts
from tests.worlds import scripts, serving


def simulated(name: str, script: list[AnyEvent]) -> tuple[list[Outcome], list[Entry]]:
    entries: list[Entry] = []
    return Simulation(serving(name, entries), PlainCosts(), script).run(), entries


def live(name: str, script: list[AnyEvent]) -> tuple[list[Outcome], list[Entry]]:
    """The live driver and the fake workers, on a loop with virtual time."""
    entries: list[Entry] = []
    outcomes: list[Outcome] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        backend = serving(name, entries)
        cluster = FakeCluster(backend, PlainCosts(), lambda event: driver.post(event))  # noqa: PLW0108 - made below
        driver = Driver(backend, cluster, on_reply=outcomes.append)
        for event in script:
            loop.call_at(event.at, driver.post, event)
        await asyncio.sleep(max(event.at for event in script) + 1)
        while len(backend.backlog):
            await asyncio.sleep(1)
        await asyncio.sleep(1000)  # a cancelled chunk's end and a last wake-up may still come

    loop = VirtualLoop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    return outcomes, entries


@pytest.mark.parametrize("name", sorted(POLICIES))
@given(script=scripts())
def test_the_live_driver_writes_the_simulators_journal(name: str, script: list[AnyEvent]) -> None:
    """P3: journal for journal, byte for byte."""
    outcomes, entries = live(name, script)
    expected_outcomes, expected = simulated(name, script)
    assert b"".join(map(encode, entries)) == b"".join(map(encode, expected))
    assert outcomes == expected_outcomes


_PROGRAM = """
import hashlib
from sfumato.core.events import Arrived, WorkerUp
from sfumato.core.journal import encode
from sfumato.core.values import RankInfo, Request
from sfumato.sim import Simulation
from sfumato.sim.noise import lognormal
from tests.costs import CLIP, LARGE, PARTS, SMALL, PlainCosts
from tests.worlds import serving

entries = []
script = [WorkerUp(at=0.0, info=RankInfo(rank=r), parts=PARTS) for r in range(4)]
for n in range(60):
    shape = (SMALL, CLIP, LARGE)[n % 3]
    at = n * 0.37
    request = Request(id=f"r{n}", model="video" if shape is CLIP else "image", shape=shape, steps=5 + n % 20,
                      arrived_at=at, deadline=at + 3.0)
    script.append(Arrived(at=at, request=request))
Simulation(serving("sfumato", entries), PlainCosts(), script, lognormal(5, 0.1)).run()
print(hashlib.sha256(b"".join(map(encode, entries))).hexdigest())
"""


def test_two_processes_with_unlike_hash_seeds_write_the_same_journal() -> None:
    """P1."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64
