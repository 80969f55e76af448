"""Seconds per iteration against the number of classes, IPC and frequencies, each with the straight line through them.

`python benchmarks/scaling.py`. One of the three changes at a time. Float32, ConvNet-3 of width 128, CIFAR's images;
fewer real images per class than at full size, so that a point takes seconds on two cores.
"""

from __future__ import annotations

import argparse
from statistics import median
from typing import Any

import numpy as np
from common import begin, distillation, save, seconds

BASE = {"classes": 4, "ipc": 10, "num_frequencies": 4096}
AXES = {
    "classes": (2, 4, 6, 8, 10),
    "ipc": (5, 10, 20, 40),
    "num_frequencies": (4096, 8192, 16384, 32768),
}
REAL = 256


def main() -> None:
    """Measure all points in turn, several times over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    device = begin()
    runs = {}
    for axis, values in AXES.items():
        for value in values:
            point: dict[str, Any] = {**BASE, axis: value}
            shape = (point.pop("classes"), REAL, 32, "convnet-3")
            runs[axis, value] = distillation(shape, point.pop("ipc"), device, batch_real=REAL, **point)
    times: dict[tuple[str, int], list[float]] = {key: [] for key in runs}
    for turn in range(options.repeats + 1):
        for key, run in runs.items():
            found = seconds(run.step, device, 1, 0)
            times[key] += found if turn else []  # the first turn warms up
    axes = {}
    for axis, values in AXES.items():
        measured = [median(times[axis, value]) for value in values]
        slope, start = np.polyfit(values, measured, 1)
        left = np.array(measured) - (slope * np.array(values) + start)
        fit = {"seconds_each": slope, "seconds_at_zero": start, "r_squared": 1 - left.var() / np.var(measured)}
        points = [{axis: value, "seconds": median(times[axis, value]), "all": times[axis, value]} for value in values]
        axes[axis] = {"points": points, **{name: float(number) for name, number in fit.items()}}
        print(axis, axes[axis], flush=True)
    save("scaling", {"base": {**BASE, "batch_real": REAL}, "axes": axes})


if __name__ == "__main__":
    main()
