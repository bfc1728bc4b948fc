"""What the server costs over the pipeline alone: a 20-step image through HTTP against the same diffusers call.

One worker, default policy, nothing else going on; the direct call has as many threads and the same niceness in its own
process. The two take turns. Both times are from the request to the finished picture, HTTP's with the PNG and its
transfer. The pictures must be the same, pixel for pixel.
"""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from PIL import Image

from bench.figure import Figure, Result, main, summary
from bench.rig import IMAGE, Served, served
from sfumato.models import describe
from sfumato.runtime.crew import ClusterConfig

SIDE, STEPS, GUIDANCE, PROMPT = 160, 20, 3.0, "a big red circle on a yellow background"


def measure(quick: bool) -> Result:
    rounds = 3 if quick else 25
    with served(workers=1) as server, direct() as pipeline:
        pairs = [_pair(server, pipeline, seed) for seed in range(-2, rounds)][2:]
    https, directs = zip(*((a, b) for a, b, _ in pairs), strict=True)
    unlike = sum(not same for _, _, same in pairs)
    step_s = median(directs) / STEPS
    return Result(
        figures=(
            Figure(
                name=f"{STEPS}-step image over HTTP, against the pipeline called directly",
                value=100 * (median(https) / median(directs) - 1),
                unit="% more",
                limit=5.0,
            ),
            Figure(name="the same: a step takes (with its share of the rest)", value=1000 * step_s, unit="ms"),
            Figure(name="the same: pictures that differ", value=unlike, unit="of all", limit=0),
        ),
        details={"http_ms": summary(https), "direct_ms": summary(directs), "side": SIDE, "guidance": GUIDANCE},
    )


def _pair(server: Served, pipeline: subprocess.Popen[str], seed: int) -> tuple[float, float, bool]:
    """(seconds over HTTP, seconds directly, whether the pictures are the same); which is first alternates."""
    seed += 2
    if seed % 2:
        (http_s, there), (direct_s, here) = _over_http(server, seed), _directly(pipeline, seed)
    else:
        (direct_s, here), (http_s, there) = _directly(pipeline, seed), _over_http(server, seed)
    return http_s, direct_s, there == here


def _over_http(server: Served, seed: int) -> tuple[float, bytes]:
    body = {
        "model": IMAGE,
        "prompt": PROMPT,
        "size": f"{SIDE}x{SIDE}",
        "num_inference_steps": STEPS,
        "guidance_scale": GUIDANCE,
        "seed": seed,
    }
    began = time.perf_counter()
    answer = server.http.post("/v1/images/generations", json=body)
    file = base64.b64decode(answer.raise_for_status().json()["data"][0]["b64_json"])
    seconds = time.perf_counter() - began
    return seconds, Image.open(io.BytesIO(file)).tobytes()


def _directly(pipeline: subprocess.Popen[str], seed: int) -> tuple[float, bytes]:
    asked: dict[str, Any] = {
        "prompt": PROMPT,
        "negative_prompt": "",
        "true_cfg_scale": GUIDANCE,
        "height": SIDE,
        "width": SIDE,
        "num_inference_steps": STEPS,
        "seed": seed,
    }
    assert pipeline.stdin
    assert pipeline.stdout
    pipeline.stdin.write(json.dumps(asked) + "\n")
    pipeline.stdin.flush()
    answer = json.loads(pipeline.stdout.readline())
    return answer["seconds"], bytes.fromhex(answer["pixels"])


@contextmanager
def direct() -> Iterator[subprocess.Popen[str]]:
    """The process of bench.direct with the image model."""
    workers, offer = ClusterConfig(), describe(IMAGE, IMAGE)
    settings = [offer.path, workers.threads, workers.nice, offer.max_prompt_tokens]
    command = [sys.executable, "-m", "bench.direct", *map(str, settings)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    main(measure)
