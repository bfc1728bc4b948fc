"""Trains one of the two tiny models: `python -m recipes.tiny.train image`.

Stages: `flow` (transformer and text encoders), `decoder` and `encoder` (the autoencoder's halves). `flow` needs neither
of the others and may run beside them. Each keeps what it has in the run folder; `--resume` goes on with `flow` there.
`python -m recipes.tiny.export image` puts the parts together.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from recipes.tiny.autoencoder import train_autoencoder
from recipes.tiny.export import RUNS, load_pipeline
from recipes.tiny.families import FAMILIES
from recipes.tiny.flow import FlowSettings, FlowTraining


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
    for stage in args.stages:
        if stage == "flow":
            family.pipe.to(args.device)
            settings = FlowSettings(
                steps=args.steps,
                seed=args.seed,
                learning_rate=args.rate,
                caption_dropout=args.dropout,
                pairs=args.pairs,
            )
            training = FlowTraining(family, settings)
            if args.resume and (folder / "state.pt").exists():
                training.load(folder / "state.pt")
            training.run(folder / "state.pt", report)
        else:
            kept = folder / "autoencoder"
            if kept.exists():
                family.pipe.vae = type(family.pipe.vae).from_pretrained(kept)
            family.pipe.to(args.device)
            steps = {"decoder": args.decoder_steps, "encoder": args.encoder_steps}[stage]
            train_autoencoder(family, stage, kept, steps=steps, seed=args.seed, report=report)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=sorted(FAMILIES))
    parser.add_argument(
        "--stages", nargs="+", choices=("decoder", "encoder", "flow"), default=["decoder", "encoder", "flow"]
    )
    parser.add_argument("--steps", type=int, default=9000, help="optimizer steps of the flow stage in all")
    parser.add_argument("--decoder-steps", type=int, default=3000)
    parser.add_argument("--encoder-steps", type=int, default=800)
    parser.add_argument("--rate", type=float, default=4e-3, help="peak learning rate of the flow stage")
    parser.add_argument("--dropout", type=float, default=0.1, help="share of the captions left empty")
    parser.add_argument("--pairs", action="store_true", help="mostly scenes of two shapes, mostly much noise")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on where the run folder stands")
    parser.add_argument("--init-from", type=Path, help="folder of a checkpoint whose weights to start from")
    parser.add_argument("--run-dir", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
