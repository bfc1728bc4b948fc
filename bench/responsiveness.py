"""How soon the server answers while every worker computes: GET /health and GET /v1/models, one after the other."""

from __future__ import annotations

import time

from bench.figure import Figure, Result, main, ms, percentile, summary
from bench.rig import Served, served

WORKERS = 2
PATHS = ("/health", "/v1/models")


def measure(quick: bool) -> Result:
    with served(workers=WORKERS) as server:
        videos = [_start_video(server) for _ in range(WORKERS + 2)]
        server.until(lambda health: health["ranks_busy"] == WORKERS)
        times: dict[str, list[float]] = {path: [] for path in PATHS}
        for _ in range(100 if quick else 1500):
            for path in PATHS:
                times[path].append(_get_s(server, path))
        busy = server.health()
        for video in videos:
            server.http.delete(f"/v1/videos/{video}")
    if busy["ranks_busy"] + busy["waiting"] + busy["paused"] < WORKERS:
        raise SystemExit("bench: the workers ran out of work; start more videos")
    return Result(
        figures=tuple(
            Figure(name=f"GET {path}, all workers busy: p99", value=ms(percentile(found, 0.99)), unit="ms", limit=25.0)
            for path, found in times.items()
        ),
        details={path: summary(found) for path, found in times.items()},
    )


def _start_video(server: Served) -> str:
    body = {"prompt": "a blue square moves", "size": "96x96", "num_frames": 33, "num_inference_steps": 200}
    answer = server.http.post("/v1/videos", json=body)
    return str(answer.raise_for_status().json()["id"])


def _get_s(server: Served, path: str) -> float:
    began = time.perf_counter()
    server.http.get(path).raise_for_status()
    return time.perf_counter() - began


if __name__ == "__main__":
    main(measure)
