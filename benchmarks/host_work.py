"""What the host does in one iteration of distillation: operations dispatched, and values read back.

`python benchmarks/host_work.py` (seconds) prints them at 10 and at 100 classes with the same total of images, in joint
and in per-class steps. A GPU waits for the host where these grow with the classes. At commit 694272b, joint: 4,907 and
42,240 operations, 81 and 531 values; per class: 9,489 and 94,072 operations, 382 and 3,802 values.
"""

from __future__ import annotations

import sys
from typing import Any

from common import begin, distillation
from torch.utils._python_dispatch import TorchDispatchMode

IMAGES, IPC, WIDTH = 800, 2, 8  # real images in all, as many for each class; images stored per class at 10 classes
READS = ("aten._local_scalar_dense",)


class Counted(TorchDispatchMode):
    """Counts the operations that are dispatched, and those that read a value back to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.reads = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operation and run it."""
        self.operations += 1
        self.reads += str(function).startswith(READS)
        return function(*args, **(kwargs or {}))


def host_work(classes: int, ipc: int, update: str) -> Counted:
    """Return the counts of one iteration, after one that warms up."""
    device = begin()
    shape = (classes, IMAGES // classes, 32, "convnet-3")
    changes = {"batch_real": IMAGES // classes, "num_frequencies": 64, "frequencies": "mixture", "update": update}
    run = distillation(shape, ipc, device, width=WIDTH, **changes)
    run.step()
    with Counted() as counted:
        run.step()
    return counted


def main() -> int:
    """Print a Markdown table."""
    print("| update | classes | real images per class | stored per class | operations | values read back |")
    print("| --- | --- | --- | --- | --- | --- |")
    for update in ("joint", "per-class"):
        for classes, ipc in ((10, 10 * IPC), (100, IPC)):
            found = host_work(classes, ipc, update)
            cells = (update, classes, IMAGES // classes, ipc, found.operations, found.reads)
            print(f"| {' | '.join(map(str, cells))} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
