"""Read a diffusers checkpoint into an `Offer`, without torch and without reading the weights."""

from __future__ import annotations

import re
from pathlib import Path

from sfumato.core.values import ModelSpec, PartId, StageSpec
from sfumato.errors import CheckpointError
from sfumato.models import coupling
from sfumato.models.limits import Json
from sfumato.models.offer import Offer
from sfumato.models.parts import part_of, read_json
from sfumato.models.readers import READERS, Reader, merge, read_card

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
DEGREES = (1, 2, 4, 8)  # the ranks of a machine
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Neither single-file weights (flux1-dev.safetensors is 24 GB) nor other frameworks' formats.
HUB_FILES = ["model_index.json", "sfumato.json", "*/*.json", "*/*.safetensors", "*/*.model", "*/*.txt"]


def describe(source: str, name: str | None = None) -> Offer:
    """The offer of a checkpoint folder, a hub id, or one of the embedded `sfumato/...` models.

    `name` is what requests call it; by default what its card says, else the hub id or the folder's name. Raises
    CheckpointError, naming the fix, for what is no checkpoint, is incomplete, or is of a family that is not served.
    """
    folder = resolve(source)
    index = read_json(folder / "model_index.json")
    family = _family(index, folder)
    reader, card = READERS[family], read_card(folder, family)
    parts = {component: part_of(folder / component) for component in _present(reader, index, folder)}
    coupling.check_sampler(folder)
    configs = {component: read_json(folder / component / "config.json") for component in parts}
    limits = merge(reader.limits(index, configs), card, folder)
    name = name or card.name or (folder.name if Path(source).expanduser().is_dir() else source)
    return Offer(
        spec=_spec(name, reader, parts, limits),
        family=family,
        path=str(folder),
        modality=reader.modality,
        qualities=reader.qualities,
        components={component: part for component, (part, _) in parts.items()},
        **limits,
    )


def resolve(source: str) -> Path:
    """The folder of a checkpoint; a hub id is downloaded into the ordinary hub cache, or found there."""
    if source.startswith("sfumato/"):
        return _embedded(source)
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if HUB_ID.fullmatch(source):
        return _download(source)
    message = f"model: {source} is neither a folder nor a hub id (owner/name); give one of the two"
    raise CheckpointError(message, field="model")


def _embedded(source: str) -> Path:
    folder = CHECKPOINTS / source.removeprefix("sfumato/")
    if not (folder / "model_index.json").is_file():
        known = ", ".join(f"sfumato/{path.parent.name}" for path in sorted(CHECKPOINTS.glob("*/model_index.json")))
        raise CheckpointError(f"model: there is no {source}; use one of: {known or 'none is built in'}", field="model")
    return folder


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=HUB_FILES))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        fix = "check the id, download it where there is a network (gated models: log in to the hub), or give a folder"
        raise CheckpointError(f"model: cannot fetch {hub_id} ({reason}); {fix}", field="model") from error


def _family(index: Json, folder: Path) -> str:
    pipeline = index.get("_class_name")
    for family, reader in READERS.items():
        if reader.pipeline == pipeline:
            return family
    served = ", ".join(reader.pipeline for reader in READERS.values())
    raise CheckpointError(f"model: {folder} is a {pipeline}; give a checkpoint of: {served}", field="model")


def _present(reader: Reader, index: Json, folder: Path) -> list[str]:
    """The components with weights; of these only the second expert of Wan 2.2 may be absent."""
    present = [component for component in reader.components if (index.get(component) or [None])[0] is not None]
    missing = set(reader.components) - set(present) - {"transformer_2"}
    if missing:
        message = f"model: {folder} lacks {', '.join(sorted(missing))}; give a complete checkpoint"
        raise CheckpointError(message, field="model")
    return present


def _spec(name: str, reader: Reader, parts: dict[str, tuple[PartId, int]], limits: Json) -> ModelSpec:
    """Takes from `limits` what belongs to the spec."""

    def ids(components: tuple[str, ...]) -> tuple[PartId, ...]:
        return tuple(parts[component][0] for component in components if component in parts)

    # 8 is a first bound: on one core a step of 8 tiny images takes 4.4 times that of one, and the gain flattens out
    return ModelSpec(
        name=name,
        encode=StageSpec(parts=ids(reader.encode), max_batch=8, packs=True),  # text has no size
        diffuse=StageSpec(
            parts=ids(reader.diffuse),
            degrees=DEGREES if reader.spreads else (1,),
            max_batch=8,
            packs=reader.packs,
            halves=reader.packs,
        ),
        decode=StageSpec(parts=ids(reader.decode), degrees=DEGREES if reader.rows else (1,)),
        part_bytes=dict(parts.values()),
        frame_stride=limits.pop("frame_stride"),
        lone_first=limits.pop("lone_first", True),
    )
