"""Peak memory of a distillation as a setting: images at once, with and without recomputation.

`python benchmarks/memory.py`. Each setting has a process of its own. Memory is what the process held at its peak beyond
the started program: the data set, the pool, the images, and the iteration's activations (on a GPU: allocated tensors).
"""

from __future__ import annotations

import argparse
from typing import Any

from common import begin, save
from iteration import measure

AT_ONCE = (16, 64, 256)


def main() -> None:
    """Measure every setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=["cifar10", "cifar100"])
    parser.add_argument("--ipc", type=int, default=10)
    options = parser.parse_args()
    begin()
    rows: list[dict[str, Any]] = []
    for shape in options.shapes:
        for recompute in (False, True):
            for images in AT_ONCE:
                setting = {"images_at_once": images, "recompute": recompute}
                found = measure(shape, options.ipc, warmup=0, **setting)
                rows.append({"shape": shape, "ipc": options.ipc, **setting, **found})
                print(rows[-1], flush=True)
    save("memory", {"rows": rows})


if __name__ == "__main__":
    main()
