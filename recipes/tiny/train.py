"""Trains one of the two tiny models: `python -m recipes.tiny.train image --minutes 50`.

Stages: the autoencoder (once; kept in the run folder), then the transformer with its text encoders. Started again with
`--resume` it goes on where the run folder stands; `--init-from` starts from the weights of a shipped checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from recipes.tiny.autoencoder import Report, train_autoencoder
from recipes.tiny.export import export_pipeline, load_pipeline
from recipes.tiny.families import FAMILIES, Family
from recipes.tiny.flow import FlowSettings, FlowTraining

RUNS = Path(__file__).parent / "runs"


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    folder = args.run_dir or RUNS / args.family
    folder.mkdir(parents=True, exist_ok=True)

    def report(line: str) -> None:
        print(line, flush=True)
        with (folder / "log.txt").open("a") as log:
            log.write(line + "\n")

    family = FAMILIES[args.family](load_pipeline(args.init_from) if args.init_from else None)
    family.pipe.to(args.device)
    _prepare_autoencoder(family, folder, args, report)
    if args.stage != "all":
        return
    settings = FlowSettings(minutes=args.minutes, steps=args.steps, seed=args.seed, learning_rate=args.rate)
    training = FlowTraining(family, settings)
    state = folder / "state.pt"
    if args.resume and state.exists():
        training.load(state)
    training.run(state, report)
    for name, module in training.average.items():
        setattr(family.pipe, name, module)
    export_pipeline(family.pipe, folder / "checkpoint", args.family)


def _prepare_autoencoder(family: Family, folder: Path, args: argparse.Namespace, report: Report) -> None:
    """Trains the autoencoder; by default only where no weights are there yet, in the run folder or a checkpoint."""
    vae = family.pipe.vae
    kept = folder / "autoencoder"
    if kept.exists():
        family.pipe.vae = type(vae).from_pretrained(kept).to(vae.device)
    if args.stage != "all" or not (kept.exists() or args.init_from):
        only = args.stage == "decoder"
        train_autoencoder(family, minutes=args.autoencoder_minutes, seed=args.seed, report=report, decoder_only=only)
        family.pipe.vae.save_pretrained(kept)
    family.pipe.vae.eval().requires_grad_(False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=sorted(FAMILIES))
    parser.add_argument("--minutes", type=float, default=90.0, help="training time of the transformer")
    parser.add_argument("--steps", type=int, help="optimizer steps in all, instead of --minutes")
    parser.add_argument("--autoencoder-minutes", type=float, default=8.0)
    parser.add_argument(
        "--stage",
        choices=("all", "autoencoder", "decoder"),
        default="all",
        help="autoencoder: go on training it, which outdates the transformer; decoder: only that, which does not",
    )
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--init-from", type=Path, help="folder of a checkpoint to start from")
    parser.add_argument("--run-dir", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
