"""The other side of `bench.overhead`: the diffusers pipeline called directly. One line of JSON in, one image out.

Runs with the workers' niceness and number of threads, in a process of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings


def main() -> None:
    """Arguments: checkpoint folder, threads, niceness, tokens of a prompt. Lines: the pipeline's arguments."""
    folder, threads, nice, tokens = sys.argv[1], *map(int, sys.argv[2:])
    os.environ.update(OMP_NUM_THREADS=str(threads), TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
    import torch
    from diffusers import DiffusionPipeline

    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    pipe = DiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    os.nice(nice)
    for line in sys.stdin:
        arguments = json.loads(line)
        seed = arguments.pop("seed")
        began = time.perf_counter()
        picture = pipe(generator=torch.Generator().manual_seed(seed), max_sequence_length=tokens, **arguments).images[0]
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "pixels": picture.tobytes().hex()}), flush=True)


if __name__ == "__main__":
    main()
