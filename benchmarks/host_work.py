"""What the host does in one iteration of distillation: operations dispatched, values read back, copies to the device.

`python benchmarks/host_work.py` (seconds) prints them at 10 and at 100 classes with the same total of images, in joint
and in per-class steps, on a device that the CPU pretends to be. A GPU waits for the host where these grow with the
classes. docs/performance.md has what this printed, and what the program did before its step was batched.
"""

from __future__ import annotations

import sys
from pathlib import Path

from common import begin, distillation

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from pretend_device import Counts, pretended

IMAGES, IPC, WIDTH = 800, 2, 8  # real images in all, as many for each class; images stored per class at 100 classes


def host_work(classes: int, ipc: int, update: str) -> Counts:
    """Return the counts of one iteration, after one that warms up."""
    shape = (classes, IMAGES // classes, 32, "convnet-3")
    changes = {"batch_real": IMAGES // classes, "num_frequencies": 64, "frequencies": "mixture", "update": update}
    with pretended():
        run = distillation(shape, ipc, begin(), width=WIDTH, **changes)
        run.step()
        with Counts() as counts:
            run.step()
    return counts


def main() -> int:
    """Print a Markdown table."""
    print("| update | classes | real images per class | stored per class | operations | values read | copies |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for update in ("joint", "per-class"):
        for classes, ipc in ((10, 10 * IPC), (100, IPC)):
            found = host_work(classes, ipc, update)
            cells = (update, classes, IMAGES // classes, ipc, found.operations, found.reads, found.copies)
            print(f"| {' | '.join(map(str, cells))} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
