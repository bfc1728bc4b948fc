"""Where a program measures, and what: `--device`, `--model`, and a clock that waits for the device.

    python -m recipes.full_size sdxl checkpoints/sdxl
    python -m bench.batching --device cuda:0 --model checkpoints/sdxl

Without the two it is the CPU and the embedded models, and the result is kept under the program's name; else the names
of the model and the device are added to it, so that no result takes the place of another. Models have the precision
that the server gives them: float32 on a CPU, bfloat16 elsewhere. What is measured on a GPU has not run on one yet.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from bench import figure
from sfumato.core.values import Shape
from sfumato.models import Offer, describe, load_model
from sfumato.runtime.crew import ClusterConfig


class Target(NamedTuple):
    """A torch device, and a checkpoint folder; None stands for the embedded models."""

    device: str = "cpu"
    model: str | None = None

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu"

    @property
    def device_name(self) -> str:
        """As its maker calls it."""
        if not self.on_gpu:
            return "cpu"
        import torch

        return torch.cuda.get_device_name(self.device)

    @property
    def model_name(self) -> str:
        """The folder's own name."""
        return Path(self.model).resolve().name if self.model else ""

    def kept_as(self, program: str) -> str:
        """The name of its result."""
        if self == Target():
            return program
        words = [program, self.model_name, self.device_name]
        return "-".join(re.sub(r"[^a-z0-9.]+", "-", word.lower()) for word in words if word)

    def settle(self) -> None:
        """This process as a worker: its number of threads, and the GPU that it works on."""
        import torch

        torch.set_num_threads(ClusterConfig().threads)
        if self.on_gpu:
            torch.cuda.set_device(self.device)

    def now(self) -> float:
        """Seconds: on a GPU when all that it was given is done; on a CPU those that this process had of it."""
        if not self.on_gpu:
            return time.process_time()
        import torch

        torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def loaded(self, source: str, components: Collection[str] = ()) -> Any:
        """The model of a checkpoint on the device, with the weights of all its components or of some."""
        offer = describe(source)
        model = load_model(offer, self.device)
        model.load(part for name, part in offer.components.items() if not components or name in components)
        return model


On = Callable[[bool, Target], figure.Result]


def main(measure: On) -> None:
    """As `figure.main`, for a program that measures wherever it is told to."""
    parser = figure.parser(measure)
    parser.add_argument("--device", default="cpu", help="a torch device: cpu, cuda:0 (default: cpu)")
    parser.add_argument("--model", metavar="FOLDER", help="a checkpoint (default: the embedded models)")
    given = parser.parse_args()
    if given.model and not (Path(given.model) / "model_index.json").is_file():
        parser.error(f"--model: {given.model} is no checkpoint; `python -m recipes.full_size` writes some")
    if given.device != "cpu" and not _is_there(given.device):
        parser.error(f"--device: there is no {given.device} here; use cpu, or cuda:0 where there is a GPU")
    target = Target(given.device, given.model)
    figure.run(target.kept_as(figure.program(measure)), lambda quick: measure(quick, target), quick=given.quick)


def part_of(offer: Offer, side: float = 1.0, frames: float = 1.0) -> Shape:
    """The offered shape next to a share of the default one's sides and frames."""
    default, sizes = offer.default_shape, offer.sizes
    height, width = (sizes.nearest(side * min(pixels, sizes.last)) for pixels in (default.height, default.width))
    return Shape(height=height, width=width, frames=offer.frames.nearest(frames * default.frames))


def race(target: Target, ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each round of each way; the first two rounds warm up (and compile). The order turns round by round."""
    took: dict[str, list[float]] = {way: [] for way in ways}
    order = list(ways)
    for turn in range(rounds + 2):
        for way in order:
            began = target.now()
            ways[way]()
            if turn > 1:
                took[way].append(target.now() - began)
        order.append(order.pop(0))
    return took


def _is_there(device: str) -> bool:
    import torch

    kind, _, place = device.partition(":")
    return kind == "cuda" and place.isdigit() and int(place) < torch.cuda.device_count()
