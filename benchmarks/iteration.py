"""One distillation in a fresh process: seconds per iteration and peak memory, printed as JSON.

The other benchmarks call it, since a process's peak memory can't be reset:
`python benchmarks/iteration.py '{"shape": "cifar10", "ipc": 10, "changes": {"recompute": true}}'`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median
from typing import Any

import torch
from common import SHAPES, begin, distillation, peak_memory, seconds


def measure(
    shape: str, ipc: int, *, share: float = 1.0, repeats: int = 1, warmup: int = 1, **changes: Any
) -> dict[str, float]:
    """Run iterations in a fresh process.

    Args:
        shape: a name in :data:`common.SHAPES`.
        ipc: images per class.
        share: part of the classes that is run; seconds are scaled up by it, memory is not.
        repeats, warmup: timed iterations, and those before them.
        changes: params that differ from the released settings.

    Returns:
        ``seconds`` per iteration (median), ``gigabytes`` at the peak beyond the started program, data set included.
    """
    request = {"shape": shape, "ipc": ipc, "share": share, "repeats": repeats, "warmup": warmup, "changes": changes}
    command = [sys.executable, __file__, json.dumps(request)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.argv[1])
    device = begin(bounded=request["changes"].get("recompute", False))
    torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)  # the libraries' own memory is not the method's
    before = peak_memory(device)
    classes, *rest = SHAPES[request["shape"]]
    part = max(1, round(classes * request["share"]))
    run = distillation((part, *rest), request["ipc"], device, **request["changes"])
    times = seconds(run.step, device, request["repeats"], request["warmup"])
    print(json.dumps({"seconds": median(times) * classes / part, "gigabytes": peak_memory(device) - before}))


if __name__ == "__main__":
    main()
