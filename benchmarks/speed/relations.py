"""Relational inference: simulations and training steps a second against plain peers, in one run.

    python -m benchmarks.speed.relations [--threads 1] [--device cpu]

The simulators run on the CPU, against plain loops; the training steps on the device, against one-hot
matrices. Ratios are the peer's median time by ours: above 1 ours is faster.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import torch

from benchmarks.report import environment, write_json
from benchmarks.speed import relation_simulators, relations_step
from course_lib.training import pick_device


def main(arguments: list[str] | None = None) -> int:
    """Run, print, write; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--device", default="cpu", help="of the training steps (default: cpu)")
    parser.add_argument("--memory", metavar="SYSTEM", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.memory:
        print(json.dumps(relation_simulators.measure_memory_here(options.memory)))
        return 0
    device = pick_device(options.device)
    start, started = time.perf_counter(), environment(device)
    simulators, missed = relation_simulators.run(options.threads)
    steps, slow = relations_step.run(device)
    missed = missed + slow
    print("\n".join(missed or ["all bars met"]))
    content = {"simulators": simulators, "training_steps": steps, "bars_missed": missed}
    content["seconds"] = round(time.perf_counter() - start, 1)
    print(f"wrote {write_json('relations', 'small', started, content)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
