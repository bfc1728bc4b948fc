"""Plays a list of arrivals against a running server with the official `openai` client: an open-loop load.

Rules: requests are sent at their planned times whether earlier ones have ended or not, and the clock of each starts
at its *planned* arrival, so neither a slow client nor `max_concurrency` hides queueing. Whatever happens, every arrival
ends as one Played: an exception becomes its outcome. The client never retries, as that would hide refusals.

A request met its SLO if the server says so (its own end of the work, on the deadline that is left when it is sent);
where a server says nothing, by this client's clock. A video's end is seen at the next poll; the server says when that
is to be, as it does to any client of the official library. (Ten polls a second of each of 19 open videos took this
client a fifth of a core, on a machine of two whose workers wanted both.)
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from sfumato.core.values import EXACT, JobState
from sfumato.workload.arrivals import Arrival
from sfumato.workload.played import Played

POLL_S = 0.1  # where the server does not say
PATIENCE_S = 3600.0
GIVE_UP_S = 2.0


Watch = Callable[[Played], None]


def connect(base_url: str, *, api_key: str = "none", http_client: Any = None) -> Any:
    """The official asynchronous client of a server; `base_url` with or without /v1. Close it at the end."""
    from openai import AsyncOpenAI

    root = base_url.rstrip("/")
    url = root if root.endswith("/v1") else f"{root}/v1"
    return AsyncOpenAI(base_url=url, api_key=api_key, max_retries=0, timeout=PATIENCE_S, http_client=http_client)


class Player:
    """A load under way. `played` always has one entry an arrival, also after `run` was cancelled."""

    def __init__(
        self,
        client: Any,
        arrivals: Sequence[Arrival],
        *,
        max_concurrency: int | None = None,
        watch: Watch = lambda _: None,
        poll_s: float | None = None,
    ) -> None:
        self.played = [Played(number=number, arrival=arrival) for number, arrival in enumerate(arrivals)]
        self._client = client
        self._watch = watch
        self._poll_s = poll_s
        self._turn = asyncio.Semaphore(max_concurrency or max(1, len(arrivals)))
        self._start = 0.0

    @property
    def elapsed_s(self) -> float:
        return asyncio.get_running_loop().time() - self._start

    async def run(self) -> list[Played]:
        """Send all and wait for all. When it is cancelled, what is open ends as cancelled."""
        self._start = asyncio.get_running_loop().time()
        sending = [asyncio.create_task(self._send(played)) for played in self.played]
        try:
            await asyncio.gather(*sending)
        finally:
            for task in sending:
                if not task.cancelling():  # a second cancellation would cut short what the first one set off
                    task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            for played in self.played:
                if played.state is None:  # cancelled before its task had begun
                    self._end(played, JobState.CANCELLED, error="the load was stopped")
        return self.played

    async def _send(self, played: Played) -> None:
        arrival = played.arrival
        try:
            await asyncio.sleep(max(0.0, arrival.at - self.elapsed_s))
            async with self._turn:
                played = self._note(replace(played, sent=self.elapsed_s))
                ask = self._image if arrival.shape.frames == 1 else self._video
                output, told, failed = await ask(arrival, self._fields(arrival))
            if failed is None:
                self._end(played, self._verdict(arrival, told), told=told, output=output)
            else:
                self._end(played, failed, told=told, error=_reason(told))
        except asyncio.CancelledError:
            self._end(played, JobState.CANCELLED, error="the load was stopped")
            raise
        except Exception as error:  # noqa: BLE001 (the edge: whatever went wrong is this request's outcome)
            self._end(played, _state_of(error), error=_message(error))

    def _fields(self, arrival: Arrival) -> dict[str, Any]:
        """The extension fields. The SLO runs from the planned arrival, so what has passed of it is gone."""
        fields: dict[str, Any] = {
            "seed": arrival.seed,
            "num_inference_steps": arrival.steps,
            "guidance_scale": arrival.guidance,
            "slo": _slo_name(arrival.cls) if arrival.slo_s is not None else "none",
        }
        if arrival.slo_s is not None:
            fields["slo_ms"] = max(1.0, 1000 * (arrival.slo_s - (self.elapsed_s - arrival.at)))
        if arrival.quality != EXACT:
            fields["quality"] = arrival.quality
        if arrival.priority:
            fields["priority"] = arrival.priority
        if arrival.degradable:
            fields["degradable"] = True
        return fields

    async def _image(self, arrival: Arrival, fields: dict[str, Any]) -> tuple[bytes, dict[str, Any], None]:
        answer = await self._client.images.generate(
            model=arrival.model,
            prompt=arrival.prompt,
            size=_size(arrival),
            response_format="b64_json",
            extra_body=fields,
        )
        told = {**(answer.model_extra or {}), "size": answer.size}
        return b64decode(answer.data[0].b64_json), told, None

    async def _video(self, arrival: Arrival, fields: dict[str, Any]) -> tuple[bytes, dict[str, Any], JobState | None]:
        """Posted, polled and fetched; given up on the server if this end is cancelled."""
        videos = self._client.videos
        extra = {**fields, "num_frames": arrival.shape.frames}
        creating = asyncio.ensure_future(
            videos.create(model=arrival.model, prompt=arrival.prompt, size=_size(arrival), extra_body=extra)
        )
        try:
            video, wait_s = await asyncio.shield(creating), POLL_S
            while video.status in ("queued", "in_progress"):
                await asyncio.sleep(wait_s if self._poll_s is None else self._poll_s)
                raw = await videos.with_raw_response.retrieve(video.id)
                video, wait_s = raw.parse(), advised_s(raw.headers)
        except asyncio.CancelledError:
            await _give_up(creating, videos)
            raise
        told = video.model_dump()
        if video.status != "completed":
            cancelled = video.status == "cancelled"
            return b"", told, JobState.CANCELLED if cancelled else _video_state(told)
        content = await videos.download_content(video.id)
        return content.content, told, None

    def _verdict(self, arrival: Arrival, told: dict[str, Any]) -> JobState:
        met = (told.get("slo") or {}).get("met")
        if met is None:
            met = arrival.slo_s is None or self.elapsed_s - arrival.at <= arrival.slo_s
        return JobState.DONE if met else JobState.LATE

    def _end(
        self,
        played: Played,
        state: JobState,
        *,
        told: dict[str, Any] | None = None,
        output: bytes = b"",
        error: str = "",
    ) -> None:
        if self.played[played.number].state is None:
            told = {} if told is None else told
            self._note(
                replace(played, finished=self.elapsed_s, state=state, told=told, output=output, error=error),
            )

    def _note(self, played: Played) -> Played:
        self.played[played.number] = played
        self._watch(played)
        return played


async def play(
    arrivals: Sequence[Arrival],
    base_url: str,
    *,
    max_concurrency: int | None = None,
    watch: Watch = lambda _: None,
    api_key: str = "none",
) -> list[Played]:
    """Play a load against the server at `base_url`; `watch` is called when a request is sent and when it ends."""
    async with connect(base_url, api_key=api_key) as client:
        return await Player(client, arrivals, max_concurrency=max_concurrency, watch=watch).run()


def advised_s(headers: Mapping[str, str]) -> float:
    """Seconds until a video should be asked for again."""
    told = headers.get("openai-poll-after-ms", "")
    return int(told) / 1000 if told.isdecimal() else POLL_S


def _size(arrival: Arrival) -> Any:
    return f"{arrival.shape.width}x{arrival.shape.height}"


def _slo_name(cls: str) -> str:
    """A class's name as the header and field of the API may carry it."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", cls)[:32]


async def _give_up(creating: asyncio.Future[Any], videos: Any) -> None:
    """Cancel a video on the server, also one whose POST is still under way: the server would draw it for nobody."""
    try:
        async with asyncio.timeout(GIVE_UP_S):
            await videos.delete((await creating).id)
    except Exception:  # noqa: BLE001 (the load is ending; a server that is gone has given it up as well)
        creating.cancel()


def _video_state(told: dict[str, Any]) -> JobState:
    return JobState.REJECTED if (told.get("error") or {}).get("code") == "rejected" else JobState.FAILED


def _reason(told: dict[str, Any]) -> str:
    error = told.get("error") or {}
    return str(error.get("message") or told.get("status", ""))


def _state_of(error: Exception) -> JobState:
    """429 is a refusal, be it for the deadline or for the queue; everything else failed."""
    return JobState.REJECTED if getattr(error, "status_code", None) == 429 else JobState.FAILED


def _message(error: Exception) -> str:
    body = getattr(error, "body", None)
    if isinstance(body, dict) and body.get("message"):
        return str(body["message"])
    text = str(error) or type(error).__name__
    cause = error.__cause__
    return text if cause is None or not str(cause) else f"{text} ({cause})"
