"""Where an iteration's time goes: shares of torch's operators, by kind, at the released settings of CIFAR-10, IPC 10.

`python benchmarks/profiling.py`. Float32 and bfloat16, not compiled: compilation fuses what is told apart here.
"""

from __future__ import annotations

from common import SHAPES, begin, distillation, save
from torch.profiler import ProfilerActivity, profile

KINDS = {
    "convolution": ("conv", "mkldnn"),
    "normalisation": ("group_norm", "native_group_norm"),
    "matrix products": ("mm", "addmm", "linear", "bmm"),
    "cosine and sine": ("cos", "sin"),
    "conversion to and from bfloat16": ("copy_", "to", "_to_copy"),
    "ReLU and pooling": ("clamp_min", "threshold", "relu", "add", "mul", "select", "unbind", "stack"),
}


def kind_of(operator: str) -> str:
    """Return the kind of an operator by its name."""
    name = operator.removeprefix("aten::")
    for kind, parts in KINDS.items():
        if any(name.startswith(part) or (kind == "convolution" and part in name) for part in parts):
            return kind
    return "everything else"


def main() -> None:
    """Profile one iteration in each precision."""
    device = begin()
    activities = [ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU]
    found = {}
    for precision in ("float32", "bfloat16"):
        run = distillation(SHAPES["cifar10"], 10, device, precision=precision)
        run.step()
        with profile(activities=activities) as measured:
            run.step()
        shares: dict[str, float] = {}
        for event in measured.key_averages():
            microseconds = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
            shares[kind_of(event.key)] = shares.get(kind_of(event.key), 0.0) + microseconds
        total = sum(shares.values())
        found[precision] = {kind: time / total for kind, time in sorted(shares.items(), key=lambda item: -item[1])}
        print(precision, {kind: f"{share:.1%}" for kind, share in found[precision].items()}, flush=True)
        top = sorted(measured.key_averages(), key=lambda event: -event.self_cpu_time_total)[:14]
        print([(event.key, round(event.self_cpu_time_total / total, 3)) for event in top], flush=True)
    save("profile", {"shares": found})


if __name__ == "__main__":
    main()
