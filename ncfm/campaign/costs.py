"""The seconds that a device needs for what a stage computes (ncfm/stages/costs.py), and the rates of three devices.

They are FLOP / rate of the heaviest layer + activations / rate of all that is no convolution + steps x overhead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ncfm.core.params import ComputeParams
from ncfm.stages.costs import Work

STEP_SECONDS = 0.005  # overhead of one optimiser step: Python and kernel launches (assumed)


@dataclass(frozen=True)
class Device:
    """A device's rates, measured by this project or assumed, and their source."""

    name: str
    flop_rate: Mapping[str, float]  # FLOP per second in convolutions, by precision
    activation_rate: Mapping[tuple[str, bool], float]  # activations per second in all else, by (precision, compiled)
    source: str

    def seconds(self, work: Work, params: ComputeParams) -> float:
        """Return the seconds that the device needs for ``work``."""
        rest = work.activations / self.activation_rate[params.precision, params.compile]
        return work.flop / self.flop_rate[params.precision] + rest + work.steps * STEP_SECONDS


# Rates of the heaviest layer and the slowest of three benchmarks (a distillation, an extractor, an evaluation network)
# in all else, as an earlier run had them: campaigns on cores that other work shares take about as long as they say.
# tests/test_plan.py holds them to the files, within a factor of 2.5.
CPU = Device(
    "2 CPU cores",
    {"float32": 2.256e11, "bfloat16": 4.764e11},
    {("float32", False): 5.6e8, ("float32", True): 8e8, ("bfloat16", False): 5.2e8, ("bfloat16", True): 9.6e8},
    "benchmarks/results/cpu-2 in an earlier run, about half as fast "
    "(two cores of an AMD EPYC with AVX-512 bfloat16, ConvNet-3 of width 128)",
)


def _assumed(name: str, bytes_per_second: float) -> Device:
    """Return a GPU of the H100's arithmetic, by its data sheet and two assumptions.

    Convolutions at 30% of the dense tensor-core peak (float32 as TF32); per activation 48 bytes moved in float32 and
    24 in bfloat16, halved by compilation, at half of the memory's bandwidth.
    """
    moved = {("float32", False): 48, ("float32", True): 24, ("bfloat16", False): 24, ("bfloat16", True): 12}
    rates = {how: bytes_per_second / 2 / size for how, size in moved.items()}
    source = "data sheet and assumed shares of it (ncfm/campaign/costs.py); never measured by this project"
    return Device(name, {"float32": 0.3 * 4.95e14, "bfloat16": 0.3 * 9.89e14}, rates, source)


H100, H200 = _assumed("H100", 3.35e12), _assumed("H200", 4.8e12)
DEVICES = (CPU, H100, H200)
