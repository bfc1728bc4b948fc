"""The load of `sfumato bench`: from a workload file or quick flags, fitted to what the server says it serves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from sfumato.errors import ConfigError, SfumatoError
from sfumato.workload.arrivals import Arrival
from sfumato.workload.play import Player
from sfumato.workload.spec import Gamma, ModelEntry, Poisson, Process, RequestClass, Workload

Served = dict[str, dict[str, Any]]  # model -> what GET /v1/models says of it
SHARES = {"image": 0.8, "video": 0.2}


async def served_models(client: Any, base_url: str) -> Served:
    """What the server offers. Raises SfumatoError if it cannot be asked."""
    from openai import OpenAIError

    try:
        page = await client.models.list()
    except OpenAIError as error:
        cause = error.__cause__ or error
        raise SfumatoError(f"--base-url: {base_url} does not answer GET /v1/models: {cause}") from error
    return {model.id: {"id": model.id, **(model.model_extra or {})} for model in page.data}


async def peak_memory(client: Any) -> int | None:
    """The most bytes that one of the server's workers has taken since it began; None if the server does not tell."""
    from openai import OpenAIError

    try:
        told = await client.get(str(client.base_url.join("/health")), cast_to=object)
    except OpenAIError:
        return None
    found = told.get("peak_memory_bytes") if isinstance(told, dict) else None
    return int(found) if found else None


def quick_workload(served: Served, count: int, rate: float, mix: str | None) -> Workload:
    """`count` requests of the first model of each kind, at its default size. Raises ConfigError."""
    first = {kind: model for model in reversed(served.values()) if (kind := model.get("modality"))}
    shares = _shares(mix) if mix else {kind: share for kind, share in SHARES.items() if kind in first}
    missing = [kind for kind in shares if kind not in first]
    if missing or not shares:
        offered = ", ".join(first) or "no kind that it names; use --workload"
        raise ConfigError(f"--mix: the server makes no {' or '.join(missing)}; it makes {offered}", field="mix")
    arrivals: Process = Poisson(per_second=rate) if rate != float("inf") else Gamma(per_second=1e9, cv=0.0)
    return Workload(
        arrivals=arrivals,
        requests=count,
        models=tuple(ModelEntry(name=first[kind]["id"]) for kind in shares),
        classes=tuple(_class(kind, first[kind], share) for kind, share in shares.items()),
    )


def checked(workload: Workload, served: Served) -> Workload:
    """The workload, if the server has all its models. Raises ConfigError."""
    missing = sorted({entry.model for entry in workload.classes} - served.keys())
    if missing:
        message = f"the server does not serve {', '.join(missing)}; it serves {', '.join(served)}"
        raise ConfigError(f"--workload: {message}", field="workload")
    return workload


def with_slo(workload: Workload, slo: float | None, scale: float | None) -> Workload:
    """The workload with one SLO rule for all its classes, if one is given. Raises ConfigError for two."""
    if slo is not None and scale is not None:
        raise ConfigError("--slo-scale: --slo is given too; keep one of them", field="slo_scale")
    if slo is None and scale is None:
        return workload
    return replace(workload, classes=tuple(replace(entry, slo=slo, slo_scale=scale) for entry in workload.classes))


def kinds_of(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """One arrival of each class, in order of their names."""
    first = {arrival.cls: arrival for arrival in reversed(arrivals)}
    return [first[name] for name in sorted(first)]


async def alone_s(client: Any, kind: Arrival, count: int) -> float:
    """Seconds of the fastest of `count` requests of a class, one after the other. Raises SfumatoError."""
    found = []
    for place in range(count):
        once = replace(kind, at=0.0, slo_s=None, seed=kind.seed + place)
        (played,) = await Player(client, [once]).run()
        if played.latency_s is None:
            raise SfumatoError(f"the warm-up request of class {kind.cls} {played.state}: {played.error}")
        timings = played.told.get("timings") or {}
        found.append(float(timings.get("total_s") or played.latency_s))
    return min(found)


def _class(kind: str, model: dict[str, Any], share: float) -> RequestClass:
    return RequestClass(
        name=kind,
        model=model["id"],
        size=model["default_size"],
        frames=model.get("default_num_frames", 1),
        steps=model["default_num_inference_steps"],
        guidance=model["default_guidance_scale"],
        share=share,
    )


def _shares(mix: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    for part in mix.split(","):
        kind, equals, share = part.strip().partition("=")
        try:
            shares[kind.rstrip("s")] = float(share) if equals else 1.0
        except ValueError:
            raise ConfigError(f"--mix: {part!r} is not KIND=SHARE, such as image=0.8", field="mix") from None
    return shares
