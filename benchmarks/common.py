"""What every benchmark shares: made data of a real shape, a pool that needs no training, clocks, floors, results.

Random pixels and random weights cost what real ones cost. Every result names its command, hardware, versions, commit.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ncfm.core.params import DistillParams
from ncfm.core.seeding import generator
from ncfm.core.store import save_tensors, write_json
from ncfm.datasets.split import Normalisation, Split
from ncfm.method.distillation import Distillation
from ncfm.method.pool import Pool
from ncfm.models.registry import build
from ncfm.run import record as records
from ncfm.run.compute import chosen_device, set_up
from ncfm.run.record import commit, hardware, versions

RESULTS = Path(__file__).parent / "results"
RELEASED = {"frequencies": "gaussian", "num_frequencies": 4096, "update": "joint", "batch_real": 1024}
SHAPES = {  # classes, images per class, resolution, network
    "cifar10": (10, 5000, 32, "convnet-3"),
    "cifar100": (100, 500, 32, "convnet-3"),
    "tinyimagenet": (200, 500, 64, "convnet-4"),
}


def begin(bounded: bool = False) -> torch.device:
    """Set the process up as a stage is, and return its device."""
    set_up(bounded=bounded)
    return chosen_device()


def made_split(classes: int, per_class: int, resolution: int, device: torch.device) -> Split:
    """Return a split of random pixels."""
    shape = (classes * per_class, 3, resolution, resolution)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator("pixels")).to(device)
    labels = torch.arange(classes).repeat_interleave(per_class).to(device)
    middle = torch.full((1, 3, 1, 1), 0.5, device=device)
    names = tuple(str(label) for label in range(classes))
    return Split("made", images, labels, classes, names, Normalisation(middle, middle / 2))


def made_pool(split: Split, arch: str, width: int, device: torch.device, members: int = 2) -> Pool:
    """Return a pool of networks with random weights."""
    shape = {"channels": 3, "resolution": split.resolution, "classes": split.classes, "width": width}
    tensors = {}
    for member in range(members):
        for end in ("initial", "trained"):
            made = build(arch, **shape, norm="instance", generator=generator(member, end))
            tensors |= {f"{member}.{end}.{name}": value for name, value in made.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.safetensors"
        save_tensors(path, tensors, {**shape, "dataset": "made", "arch": arch, "norm": "instance", "pool": members})
        return Pool(path, device)


def distillation(
    shape: tuple[int, int, int, str], ipc: int, device: torch.device, width: int = 128, **changes: Any
) -> Distillation:
    """Return a distillation at the released settings, except for ``changes``."""
    classes, per_class, resolution, arch = shape
    split = made_split(classes, per_class, resolution, device)
    params = DistillParams(**{**RELEASED, "initialisation": "noise", **changes})
    return Distillation(params, split, made_pool(split, arch, width, device), ipc, 0)


def seconds(function: Callable[[], object], device: torch.device, repeats: int = 3, warmup: int = 1) -> list[float]:
    """Return the seconds of each repeat, after the warm-up."""

    def once() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    for _ in range(warmup):
        once()
    return [once() for _ in range(repeats)]


def flop(function: Callable[[], object]) -> float:
    """Return the floating point operations of a call, two for each multiply and add, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        function()
    return float(counter.get_total_flops())


def rates(device: torch.device) -> dict[str, float]:
    """Return the FLOP/s that this machine reaches in the heaviest layer of ConvNet-3 and in a matrix product."""
    on_cpu = device.type == "cpu"
    size, images = (2048, 32) if on_cpu else (16384, 4096)
    found = {}
    for name, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        if kind == torch.bfloat16 and on_cpu and not torch.cpu._is_avx512_bf16_supported():
            continue
        square = torch.randn(size, size, device=device).to(kind)
        pixels = torch.randn(images, 128, 16, 16, device=device).to(kind)
        convolution = torch.nn.Conv2d(128, 128, 3, padding=1).to(device, kind)
        with torch.no_grad():
            for layout in (torch.contiguous_format, torch.channels_last):
                pixels, convolution = pixels.to(memory_format=layout), convolution.to(memory_format=layout)
                fastest = min(seconds(lambda c=convolution, p=pixels: c(p), device, 10, 3))
                rate = 2 * images * 256 * 128 * 128 * 9 / fastest
                found[f"convolution {name}"] = max(rate, found.get(f"convolution {name}", 0.0))
            found[f"product {name}"] = 2 * size**3 / min(seconds(lambda s=square: s @ s, device, 10, 3))
    return found


def peak_memory(device: torch.device) -> float:
    """Return the most memory that this process held so far, in GB (1e9 bytes): of the GPU, else of the process."""
    return records.peak_memory()["gpu" if device.type == "cuda" else "process"]


def save(name: str, content: dict[str, Any]) -> None:
    """Write a result with what it was measured on, and print it."""
    device = chosen_device()
    folder = RESULTS / (device.type if device.type == "cuda" else f"cpu-{torch.get_num_threads()}")
    about = {"command": " ".join(["python", *sys.argv]), "hardware": {**hardware(), "capability": capability(device)}}
    path = folder / f"{name}.json"
    write_json(path, {**about, "versions": versions(), **commit(), **content})
    print(path)


def capability(device: torch.device) -> str:
    """Return the vector instructions of the CPU, or the compute capability of the GPU."""
    if device.type == "cuda":
        return ".".join(map(str, torch.cuda.get_device_capability()))
    return torch.backends.cpu.get_cpu_capability() + (" bf16" if torch.cpu._is_avx512_bf16_supported() else "")
