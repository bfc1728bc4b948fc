import asyncio
from pathlib import Path

import pytest

from sfumato.core.commands import Launch, Load
from sfumato.core.values import Stage
from sfumato.profiling import GRIDS, Bench, Campaign, Grid, measure
from sfumato.runtime.cluster import ProcessCluster
from sfumato.runtime.crew import ClusterConfig
from tests.profiling.world import IMAGE

UNIT_S = 0.01


class Even:
    """Every unit takes the same."""

    def chunk_s(self, launch: Launch) -> tuple[float, float]:
        return 0.0, UNIT_S

    def load_s(self, load: Load) -> float:
        return 0.02


def test_worker_processes_are_measured_through_the_same_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GRIDS, "quick", Grid(sizes=2, frames=1, batches=(1, 2), seconds=0.1))

    async def run() -> None:
        clock = asyncio.get_running_loop().time
        cluster = ProcessCluster([IMAGE], clock, ClusterConfig(kind="paced", snapshots=str(tmp_path)), Even())
        bench = Bench(cluster, clock)
        await cluster.start(2)
        try:
            campaign = Campaign(path=str(tmp_path / "p.json"), date="", command="", hardware="", versions={})
            profile = await measure(IMAGE, bench, campaign)
        finally:
            await cluster.close()
        assert len(bench.ranks) == 2
        assert (profile.peaks, profile.held) == ((), ())  # paced workers have nothing to weigh
        assert profile.load_s == {"w": 0.02}
        assert {point.stage for point in profile.points} == set(Stage)
        for point in profile.points:  # a paced chunk counts from when it was sent, so its one unit may seem shorter
            assert UNIT_S * 0.2 < point.seconds < UNIT_S * 10

    asyncio.run(run())
