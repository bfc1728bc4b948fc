"""The full-size checkpoints for profiles: their networks are as large as the published ones; made without memory."""

import pytest
import torch

from recipes.full_size import MODELS

# Billions of parameters of (what denoises, the largest text encoder), as their publishers count them.
PUBLISHED = {
    "flux1-dev": ("transformer", 11.9, 4.76),
    "sd35-medium": ("transformer", 2.24, 4.76),
    "sdxl": ("unet", 2.57, 0.69),
    "wan2.1-1.3b": ("transformer", 1.42, 5.68),
}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_full_size_model_has_as_many_parameters_as_the_published_one(name: str) -> None:
    with torch.device("meta"):
        parts = MODELS[name][1](0)
    counts = {
        key: sum(parameter.numel() for parameter in part.parameters()) / 1e9
        for key, part in parts.items()
        if isinstance(part, torch.nn.Module)
    }
    denoises, size, encoder = PUBLISHED[name]
    assert counts[denoises] == pytest.approx(size, rel=0.01)
    assert max(count for key, count in counts.items() if key.startswith("text")) == pytest.approx(encoder, rel=0.01)
