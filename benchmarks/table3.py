"""Our rows of the paper's Table 3 and Figure 3: seconds per iteration and peak memory, without and with psi.

`python benchmarks/table3.py`, then `python benchmarks/report.py` writes the table and the figure. Random pixels and
weights of the data sets' shapes; bfloat16, activations recomputed; compiled on a GPU. On a CPU a tenth of Tiny
ImageNet's classes is run and the seconds are scaled up: they are linear in the classes (benchmarks/scaling.py).
"""

from __future__ import annotations

import argparse
from typing import Any

from common import begin, save
from iteration import measure

CELLS = (("cifar100", 10), ("cifar100", 50), ("tinyimagenet", 10), ("tinyimagenet", 50))
FIGURE3 = (("cifar100", 1), ("cifar100", 100))  # besides those of the table; without psi
PSI: dict[str, dict[str, Any]] = {
    "w/o psi": {},
    "with psi": {"frequencies": "mixture", "num_frequencies": 1024},
}
CPU_SHARE = {"cifar100": 1.0, "tinyimagenet": 0.1}


def main() -> None:
    """Measure every cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    device = begin()
    fast = {"precision": "bfloat16", "compile": device.type == "cuda", "recompute": True}
    rows = []
    for shape, ipc in CELLS + FIGURE3:
        for variant, changes in PSI.items():
            if (shape, ipc) in FIGURE3 and changes:
                continue
            share = CPU_SHARE[shape] if device.type == "cpu" else 1.0
            warmup = 1 if device.type == "cuda" else 0  # nothing to compile, and minutes long
            found = measure(shape, ipc, share=share, repeats=options.repeats, warmup=warmup, **fast, **changes)
            row = {"dataset": shape, "ipc": ipc, "variant": variant, "share_of_classes": share, **found}
            rows.append(row)
            print(row, flush=True)
    save("table3", {"settings": fast, "rows": rows})


if __name__ == "__main__":
    main()
