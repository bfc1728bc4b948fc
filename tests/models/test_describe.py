"""Reading checkpoints, and refusing what cannot be served with the fix."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sfumato.core.values import Shape
from sfumato.errors import CheckpointError, RequestError
from sfumato.models import Offer, describe


@pytest.fixture
def copy(checkpoint: Callable[[str], Offer], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a checkpoint that a test may spoil."""
    return lambda kind: Path(shutil.copytree(checkpoint(kind).path, tmp_path / kind))


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_importing_the_package_and_describing_a_checkpoint_does_not_import_torch(
    checkpoint: Callable[[str], Offer],
) -> None:
    code = """if True:
        import sys
        from sfumato.models import describe
        offer = describe(sys.argv[1])
        offer.check(shape=type(offer.default_shape)(height=16, width=16, frames=5), steps=1, prompt="a cat")
        sys.exit("torch" in sys.modules or "diffusers" in sys.modules)
    """
    path = checkpoint("wan-euler").path
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 0


def test_a_card_says_what_is_offered(checkpoint: Callable[[str], Offer]) -> None:
    offer = checkpoint("wan-euler")
    assert (offer.family, offer.modality, offer.name) == ("wan", "video", "wan-euler")
    assert (offer.sizes.min, offer.sizes.max, offer.sizes.step) == (16, 64, 16)
    assert (offer.frames.min, offer.frames.max, offer.frames.step, offer.fps) == (1, 21, 4, 8)
    assert offer.max_prompt_tokens == 24
    assert offer.spec.frame_stride == 4


def test_steps_are_spread_over_more_ranks_than_share_the_heads_evenly(copy: Callable[[str], Path]) -> None:
    folder = copy("wan-euler")
    edit(folder / "transformer" / "config.json", num_attention_heads=12)
    spec = describe(str(folder)).spec
    assert (spec.encode.degrees, spec.diffuse.degrees, spec.decode.degrees) == ((1,), (1, 2, 4, 8), (1, 2, 4, 8))
    assert (spec.encode.packs, spec.diffuse.packs, spec.decode.packs) == (True, True, False)


def test_a_unet_packs_unlike_requests_on_one_rank(checkpoint: Callable[[str], Offer]) -> None:
    spec = checkpoint("sdxl-euler").spec
    assert (spec.diffuse.degrees, spec.diffuse.packs) == ((1,), True)


def test_without_a_card_the_limits_follow_from_the_configs(copy: Callable[[str], Path]) -> None:
    video, image, dev = copy("wan-euler"), copy("flux"), copy("flux-distilled")
    for folder in (video, image, dev):
        (folder / "sfumato.json").unlink()
    wan = describe(str(video))
    assert wan.name == "wan-euler"
    assert (wan.default_shape, wan.default_steps) == (Shape(height=480, width=832, frames=81), 50)
    assert (wan.sizes.step, wan.frames.step, wan.fps) == (16, 4, 16)
    schnell, distilled = describe(str(image)), describe(str(dev))
    assert (schnell.default_steps, schnell.default_guidance, schnell.max_prompt_tokens) == (4, 1.0, 256)
    assert (distilled.default_steps, distilled.default_guidance, distilled.max_prompt_tokens) == (28, 3.5, 512)
    assert (schnell.sizes.step, schnell.default_shape) == (4, Shape(height=1024, width=1024))


def test_each_stage_names_the_parts_that_it_needs_and_their_bytes(checkpoint: Callable[[str], Offer]) -> None:
    spec, parts = checkpoint("flux").spec, checkpoint("flux").components
    assert spec.encode.parts == (parts["text_encoder"], parts["text_encoder_2"])
    assert spec.diffuse.parts == (parts["transformer"],)
    assert spec.decode.parts == (parts["vae"],)
    folder = Path(checkpoint("flux").path)
    for component, part in parts.items():
        files = (folder / component).glob("*.safetensors")
        assert spec.part_bytes[part] == sum(file.stat().st_size for file in files)
    assert len(checkpoint("wan-experts").spec.diffuse.parts) == 2


def test_equal_components_share_their_part_and_other_weights_of_the_same_architecture_do_not(
    checkpoint: Callable[[str], Offer], copy: Callable[[str], Path], tmp_path: Path
) -> None:
    from . import checkpoints

    first = checkpoint("flux").components
    assert describe(str(copy("flux"))).components == first
    other = describe(str(checkpoints.flux(tmp_path / "other", seed=1))).components
    assert not set(other.values()) & set(first.values())


def test_guidance_takes_two_passes_unless_it_is_distilled(checkpoint: Callable[[str], Offer]) -> None:
    plain, distilled = checkpoint("flux"), checkpoint("flux-distilled")
    assert [plain.guided(scale) for scale in (0.0, 1.0, 1.5)] == [False, False, True]
    assert not distilled.guided(3.5)


GOOD: dict[str, Any] = {"shape": Shape(height=32, width=16, frames=9), "steps": 4, "guidance": 3.0}
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"shape": Shape(height=32, width=20, frames=9)}, "size", "20x32 .*multiples of 16 from 16 to 64"),
    ({"shape": Shape(height=80, width=16, frames=9)}, "size", "multiples of 16 from 16 to 64"),
    ({"shape": Shape(height=32, width=16, frames=10)}, "num_frames", r"use one of 1, 5, \.\.\. 21, e.g. 9 \(1.12 s"),
    ({"shape": Shape(height=32, width=16, frames=99)}, "num_frames", "e.g. 21"),
    ({"shape": Shape(height=32, width=16, frames=-1)}, "num_frames", "e.g. 1 "),
    ({"steps": 0}, "steps", "use 1 to 200"),
    ({"steps": 201}, "steps", "use 1 to 200"),
    ({"guidance": float("nan")}, "guidance", "use 0 to 30"),
    ({"guidance": -1.0}, "guidance", "use 0 to 30"),
    ({"prompt": "a" * 24}, "prompt", "25 tokens are more than the 24"),
    ({"negative_prompt": "a" * 24}, "negative_prompt", "shorten it"),
    ({"guidance": 1.0, "negative_prompt": "dark"}, "negative_prompt", "set guidance above 1"),
    ({"guidance_2": 3.0}, "guidance_2", "no second expert, leave it out"),
]


@pytest.mark.parametrize(("change", "field", "fix"), WRONG)
def test_a_request_beyond_the_limits_is_refused_with_the_field_and_the_fix(
    change: dict[str, Any], field: str, fix: str, checkpoint: Callable[[str], Offer]
) -> None:
    offer = checkpoint("wan-euler")
    offer.check(**GOOD, prompt="a" * 23, negative_prompt="dark")
    with pytest.raises(RequestError, match=f"^{field}: .*{fix}") as caught:
        offer.check(**GOOD | change)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("change", "fix"),
    [({"guidance": 1.0}, "set guidance above 1"), ({"guidance_2": 31.0}, "use 0 to 30"), ({"guidance_2": -1.0}, "use")],
)
def test_a_second_expert_has_a_guidance_of_its_own_in_guided_requests(
    change: dict[str, Any], fix: str, checkpoint: Callable[[str], Offer]
) -> None:
    offer, good = checkpoint("wan-experts"), GOOD | {"guidance_2": 1.0}
    offer.check(**good)
    with pytest.raises(RequestError, match=f"^guidance_2: .*{fix}"):
        offer.check(**good | change)


def test_an_image_model_takes_no_frames_and_a_distilled_one_no_negative_prompt(
    checkpoint: Callable[[str], Offer],
) -> None:
    offer = checkpoint("flux-distilled")
    with pytest.raises(RequestError, match=r"num_frames: 5 .*it makes images, leave it out"):
        offer.check_frames(5)
    with pytest.raises(RequestError, match=r"negative_prompt: .*; leave it out$"):
        offer.check_guidance(3.5, "dark")


def test_too_many_pixels_are_refused_even_if_each_side_is_offered(checkpoint: Callable[[str], Offer]) -> None:
    offer = msgspec.structs.replace(checkpoint("flux"), max_pixels=48 * 48)
    offer.check_size(Shape(height=48, width=48))
    with pytest.raises(RequestError, match="at most 2304 pixels"):
        offer.check_size(Shape(height=64, width=48))


def test_seconds_become_the_nearest_number_of_frames_that_is_offered(checkpoint: Callable[[str], Offer]) -> None:
    offer = checkpoint("wan-euler")  # 1, 5, ... 21 frames at 8 a second
    assert [offer.frames_for(seconds) for seconds in (0.0, 0.5, 1.1, 1.5, 60.0)] == [1, 5, 9, 13, 21]


@pytest.mark.parametrize(
    "source", ["no/such/folder/at/all", "nowhere", "sfumato/none", "owner/name-that-is-not-cached"]
)
def test_what_is_no_checkpoint_is_refused_with_the_fix(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"give|use one of") as caught:
        describe(source)
    assert caught.value.field == "model"


def test_a_folder_that_is_not_a_whole_checkpoint_is_refused(copy: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"model_index.json"):
        describe(str(tmp_path / "empty"))
    folder = copy("flux")
    edit(folder / "model_index.json", vae=[None, None])
    with pytest.raises(CheckpointError, match="lacks vae; give a complete checkpoint"):
        describe(str(folder))
    edit(folder / "model_index.json", _class_name="OtherPipeline")
    with pytest.raises(CheckpointError, match="is a OtherPipeline; give a checkpoint of: FluxPipeline, WanPipeline"):
        describe(str(folder))


def test_weights_that_are_missing_or_broken_are_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("flux")
    (weights,) = (folder / "vae").glob("*.safetensors")
    weights.write_bytes(b"\x10\0\0\0\0\0\0\0 not json at all")
    with pytest.raises(CheckpointError, match="is not a safetensors file; restore it"):
        describe(str(folder))
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"has no .safetensors file"):
        describe(str(folder))


def test_a_sampler_whose_history_is_not_known_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("wan-euler")
    edit(folder / "scheduler" / "scheduler_config.json", _class_name="HeunDiscreteScheduler")
    with pytest.raises(CheckpointError, match="samples by HeunDiscreteScheduler; change its scheduler to one of"):
        describe(str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "unknown field `colour`"),
        ({"family": "wan"}, "says family 'wan', but the checkpoint is of 'flux'"),
        ({"sizes": {"min": 16, "max": 64, "multiple": 6}}, "sizes.multiple must be a multiple of 4"),
    ],
)
def test_a_wrong_card_is_refused(change: dict[str, Any], message: str, copy: Callable[[str], Path]) -> None:
    folder = copy("flux")
    edit(folder / "sfumato.json", **change)
    with pytest.raises(CheckpointError, match=message):
        describe(str(folder))
