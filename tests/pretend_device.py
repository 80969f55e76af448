"""A device that is not there: its tensors compute on the CPU, but only with each other, as a GPU's do.

Inside :func:`pretended` a tensor made on the device "meta" is a real one that reports this device. An operation
that mixes such tensors with others raises, as on a GPU, unless the other is a single number or an index. Copies to the
device and values read from it are counted, and so are all operations. Autograd, networks and optimisers run as ever.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.optim import optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
MAY_INDEX = ("index.Tensor", "index_put_.default", "index_put.default", "_unsafe_index.Tensor")  # copy it, as on a GPU


class OnDevice(Tensor):
    """A tensor on the pretended device, whose numbers are ``held`` on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnDevice:
        """Wrap a CPU tensor."""
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=DEVICE
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        """Read all values back."""
        return self.cpu().tolist()

    def numpy(self) -> Any:
        """Raise as for a tensor on a GPU."""
        raise TypeError("can't convert a tensor on the device to numpy; use Tensor.cpu()")

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute outside of a :class:`Counts`, too: the backward pass may run after it."""
        return run(function, args, kwargs or {}, lambda kind: None)


def run(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], count: Callable[[str], None]) -> Any:
    """Run one operation on the held tensors; wrap what it returns where the device is to hold it."""
    name = str(function).removeprefix("aten.")
    given = [leaf for leaf in tree_leaves((args, dict(kwargs))) if isinstance(leaf, Tensor)]
    here = any(isinstance(one, OnDevice) for one in given)
    asked = kwargs.get("device")
    copies = name in ("_to_copy.default", "copy_.default")
    if here and not copies:
        for one in given:
            if not isinstance(one, OnDevice) and one.dim():
                if name not in MAY_INDEX:
                    raise RuntimeError(f"{name}: expected all tensors to be on one device, but found one on the CPU")
                count("copies")
    if name.startswith("_local_scalar_dense") and here:
        count("reads")
    result_here = (torch.device(asked).type == DEVICE.type) if asked is not None else here
    if copies:
        target = isinstance(args[0], OnDevice) if name.startswith("copy_") else result_here
        source = isinstance(args[1] if name.startswith("copy_") else args[0], OnDevice)
        if target and not source:
            count("copies")
        elif source and not target:
            count("reads")
        result_here = target
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    args, kwargs = tree_map(lambda one: one.held if isinstance(one, OnDevice) else one, (tuple(args), dict(kwargs)))
    found = function(*args, **kwargs)
    in_place = {id(one.held): one for one in given if isinstance(one, OnDevice)}

    def wrapped(one: Any) -> Any:
        if not isinstance(one, Tensor):
            return one
        if id(one) in in_place:  # the operation wrote into a tensor that it was given
            return in_place[id(one)]
        return OnDevice(one) if result_here else one

    return tree_map(wrapped, found)


class Counts(TorchDispatchMode):
    """Inside, every operation is counted, every copy to the device, and every value read from it."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.reads = self.copies = 0

    def count(self, kind: str) -> None:
        """Count one event."""
        setattr(self, kind, getattr(self, kind) + 1)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count an operation and run it."""
        self.count("operations")
        return run(function, args, kwargs or {}, self.count)


class Generator(torch.Generator):
    """A generator that says it is on the device; its numbers are a CPU generator's."""

    def __new__(cls, device: str | torch.device = "cpu") -> Generator:
        """Make a generator for either device."""
        return super().__new__(cls, "cpu")

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.place = torch.device(device)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The device that was asked for."""
        return self.place


@contextmanager
def pretended() -> Iterator[None]:
    """Let the program run on DEVICE, as NCFM_DEVICE says, which has generators and fused optimisers."""
    with (
        mock.patch.dict(os.environ, {"NCFM_DEVICE": DEVICE.type}),
        mock.patch.object(torch, "Generator", Generator),
        mock.patch.object(optimizer, "_get_fused_kernels_supported_devices", lambda: ["cpu", DEVICE.type]),
        mock.patch.object(torch, "tensor", _tensor),  # for "meta" torch makes one without numbers
        Counts(),
    ):
        yield


_made = torch.tensor


def _tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
    return _made(data, device="cpu", **options).to(device or "cpu")
