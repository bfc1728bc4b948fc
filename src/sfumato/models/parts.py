"""The weight parts of a checkpoint: their content ids and bytes, read without torch and without reading the weights.

Two checkpoints that share a component (the T5 of two Flux models) give it the same id, so that a rank holds it once.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from sfumato.core.values import PartId
from sfumato.errors import CheckpointError

# Two fine-tunes of one architecture have equal configs, headers and sizes, so some content must be hashed too. A slice
# of every tensor tells them apart and costs one short read a tensor, where hashing a 24 GB file would take a minute.
SLICE = 256


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError when it is missing or broken."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"model: cannot read {path} ({error}); restore the file", field="model") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"model: {path} must hold a JSON object", field="model")
    return value


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of a component, without its precision variants (name.fp16.safetensors), which are not loaded."""
    files = [file for file in sorted(folder.glob("*.safetensors")) if "." not in file.stem]
    if not files:
        message = f"model: {folder} has no .safetensors file; save the checkpoint by save_pretrained, without a variant"
        raise CheckpointError(message, field="model")
    return files


def part_of(folder: Path) -> tuple[PartId, int]:
    """Content id "component-digest" of the component in `folder`, and the bytes of its weight files."""
    digest, total = sha256(_config(folder)), 0
    for file in weight_files(folder):
        size = file.stat().st_size
        total += size
        digest.update(size.to_bytes(8, "little"))
        with file.open("rb") as stream:
            _add_content(digest, stream, file)
    return f"{folder.name}-{digest.hexdigest()[:16]}", total


def _config(folder: Path) -> bytes:
    """The config without what merely tells where and by which version it was saved."""
    config = read_json(folder / "config.json")
    kept = {key: value for key, value in config.items() if key.lstrip("_") not in SAVED_BY}
    return json.dumps(kept, sort_keys=True).encode()


SAVED_BY = ("name_or_path", "diffusers_version", "transformers_version")


def _add_content(digest: Any, stream: BinaryIO, file: Path) -> None:
    """The header of a safetensors file and a slice from the middle of each of its tensors."""
    length = int.from_bytes(stream.read(8), "little")
    header = stream.read(length)
    digest.update(header)
    try:
        tensors = json.loads(header)
        spans = [entry["data_offsets"] for name, entry in tensors.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"model: {file} is not a safetensors file; restore it", field="model") from error
    for start, end in sorted(spans):
        stream.seek(8 + length + (start + end) // 2)
        digest.update(stream.read(min(SLICE, end - start)))
