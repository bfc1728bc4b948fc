"""The clients of `bench.soak`: what each asks for, and what it must be told; anything else is an OddError."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import httpx

SIZES = ("64x64", "64x80", "80x64", "96x96")
WAIT_S = 600.0
# what is wrong, where it is posted, what is posted
WRONG: tuple[tuple[str, str, Any], ...] = (
    ("size", "images/generations", {"prompt": "a", "size": "65x64"}),
    ("size", "images/generations", {"prompt": "a", "size": "4096x4096"}),
    ("prompt", "images/generations", {}),
    ("prompt", "images/generations", {"prompt": " "}),
    ("prompt", "images/generations", {"prompt": "red " * 500}),
    ("n", "images/generations", {"prompt": "a", "n": 11}),
    ("seed", "images/generations", {"prompt": "a", "seed": -1}),
    ("model", "images/generations", {"prompt": "a", "model": "no-such-model"}),
    ("model", "images/generations", {"prompt": "a", "model": "sfumato/tiny-video"}),
    ("slo_ms", "images/generations", {"prompt": "a", "slo_ms": -5}),
    ("slo_m", "images/generations", {"prompt": "a", "slo_m": 500}),
    ("num_frames", "videos", {"prompt": "a", "num_frames": 10}),
    ("num_inference_steps", "videos", {"prompt": "a", "num_inference_steps": 100_000}),
)


class OddError(Exception):
    """An answer that should not be."""


class Visitor:
    """One client after another, drawn from a seed."""

    def __init__(self, http: httpx.AsyncClient, seed: int) -> None:
        self._http = http
        self._random = Random(seed)
        self._kinds = {
            self.images: 40,
            self.urgent_image: 10,
            self.video: 14,
            self.deleted_video: 12,
            self.impatient: 10,
            self.wrong: 12,
            self.nonsense: 2,
        }

    async def visit(self) -> str:
        """How one visit ended."""
        kind = self._random.choices(list(self._kinds), list(self._kinds.values()))[0]
        return await kind()

    async def images(self) -> str:
        n = self._random.choice((1, 1, 1, 2))
        form = self._random.choice(("b64_json", "b64_json", "url"))
        answer = await self._post("images/generations", {**self._body(4), "n": n, "response_format": form})
        if answer.status_code != 200 or len(answer.json()["data"]) != n:
            raise OddError(f"an image: {answer.status_code} {answer.text[:200]}")
        if form == "url":
            file = await self._http.get(answer.json()["data"][0]["url"])
            if file.status_code != 200 or not file.content.startswith(b"\x89PNG"):
                raise OddError(f"the file of an image: {file.status_code}")
        return "image delivered"

    async def urgent_image(self) -> str:
        """May be refused; must be one or the other."""
        answer = await self._post("images/generations", {**self._body(3), "slo_ms": self._random.uniform(20, 3000)})
        if answer.status_code == 429 and answer.json()["error"]["code"] == "rejected":
            return "image refused"
        if answer.status_code != 200:
            raise OddError(f"an urgent image: {answer.status_code} {answer.text[:200]}")
        return "image in time" if answer.json()["slo"]["met"] else "image late"

    async def video(self) -> str:
        video = await self._start_video(3)
        found = await self._poll(video, lambda found: found["status"] not in ("queued", "in_progress"))
        if found["status"] != "completed":
            raise OddError(f"a video: {found['status']} {found['error']}")
        file = await self._http.get(f"/v1/videos/{video}/content")
        if file.status_code != 200 or b"ftyp" not in file.content[:16]:
            raise OddError(f"the file of a video: {file.status_code}")
        return "video delivered"

    async def deleted_video(self) -> str:
        """Deleted after some progress, which may also be after its end."""
        video = await self._start_video(12)
        least = self._random.randrange(60)
        await self._poll(video, lambda found: found["progress"] >= least or found["status"] == "completed")
        answer = await self._http.delete(f"/v1/videos/{video}")
        if answer.status_code != 200:
            raise OddError(f"deleting a video: {answer.status_code} {answer.text[:200]}")
        return "video deleted"

    async def impatient(self) -> str:
        """Hangs up in the middle."""
        try:
            async with asyncio.timeout(self._random.uniform(0.01, 0.5)):
                await self._post("images/generations", self._body(30))
        except TimeoutError:
            return "client left"
        return "image delivered"

    async def wrong(self) -> str:
        param, path, body = self._random.choice(WRONG)
        answer = await self._post(path, body)
        if answer.status_code not in (400, 404) or answer.json()["error"]["param"] != param:
            raise OddError(f"wrong {param}: {answer.status_code} {answer.text[:200]}")
        return "bad input named"

    async def nonsense(self) -> str:
        content = self._random.randbytes(self._random.randrange(1, 2000))
        kind = self._random.choice(("application/json", "multipart/form-data; boundary=x", "text/plain"))
        answer = await self._http.post("/v1/videos", content=content, headers={"content-type": kind})
        if answer.status_code not in (400, 415):
            raise OddError(f"nonsense: {answer.status_code} {answer.text[:200]}")
        return "nonsense refused"

    # -- what they share --------------------------------------------------------------------------------------------

    def _body(self, steps: int) -> dict[str, Any]:
        size = self._random.choice(SIZES)
        return {
            "prompt": f"a red circle, number {self._random.randrange(10**6)}",
            "size": size,
            "num_inference_steps": self._random.randint(1, steps),
            "guidance_scale": self._random.choice((1.0, 3.0)),
        }

    async def _post(self, path: str, body: Any) -> httpx.Response:
        return await self._http.post(f"/v1/{path}", json=body)

    async def _start_video(self, steps: int) -> str:
        answer = await self._post("videos", {**self._body(steps), "size": "64x64", "num_frames": 9})
        if answer.status_code != 200:
            raise OddError(f"a new video: {answer.status_code} {answer.text[:200]}")
        return str(answer.json()["id"])

    async def _poll(self, video: str, done: Any) -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S):
            while not done(found := (await self._http.get(f"/v1/videos/{video}")).json()):
                await asyncio.sleep(0.05)
        result: dict[str, Any] = found
        return result
