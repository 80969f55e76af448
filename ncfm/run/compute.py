"""How a stage computes: device, memory, precision, compiled networks, and networks trained side by side."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from ncfm.core.errors import NOTICE, ParamsError
from ncfm.core.params import ComputeParams

# One image's widest activations times the images at once: about what a core's share of the cache holds, in numbers.
CPU_ACTIVATIONS = 2**22
GPU_ACTIVATIONS = 2**29
Check = Callable[[], None]  # raises StoppedError where a worker shall stop
Result = TypeVar("Result")


def chosen_device() -> torch.device:
    """Return NCFM_DEVICE, else a GPU where there is one, else the CPU. Raises :class:`ParamsError` for no device."""
    chosen = os.environ.get("NCFM_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    if chosen == "cuda" and "LOCAL_RANK" in os.environ:  # each process that torchrun starts has a GPU of its own
        chosen = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.empty(0, device=chosen).device
        if device.type == "cuda":
            torch.cuda.set_device(device)  # what asks for the current device, such as NCCL, is to have this one
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ParamsError(f"NCFM_DEVICE: is {chosen!r}, which this machine cannot use (allowed: cpu, cuda)") from error
    return torch.device(chosen)


def _positive(variable: str) -> int | None:
    """Return an environment variable's whole number, or None where it is not set."""
    text = os.environ.get(variable)
    if text and not (text.isdecimal() and int(text)):
        raise ParamsError(f"{variable}: is {text!r} (allowed: a whole number from 1)")
    return int(text) if text else None


def usable_cores() -> int:
    """Return how many cores this process computes on: NCFM_CORES, else all those that the system lets it use."""
    bound = hasattr(os, "sched_getaffinity")  # macOS binds no process to cores
    return _positive("NCFM_CORES") or (len(os.sched_getaffinity(0)) if bound else os.cpu_count()) or 1


def set_up(threads: int | None = None, bounded: bool = False) -> None:
    """Prepare this process for a stage: the threads that each network computes with, and memory kept for reuse.

    NCFM_THREADS goes before ``threads``; without either torch has its default. The threads per network decide how sums
    round, so a result's last bits; the number of cores does not. By default glibc gives every large tensor back to the
    system, which costs a third of a training step on CPU (docs/performance.md); here all threads reuse one arena's
    pages. ``bounded`` (for ``recompute``) puts large tensors on huge pages, to save a third to a half of memory.
    """
    if threads := _positive("NCFM_THREADS") or threads:
        torch.set_num_threads(threads)
    if bounded:
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch looks at its first tensor
    with suppress(OSError, AttributeError):  # another C library has no such setting
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # malloc.h
        for option, value in ((arena_max, 1), (mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 2**26)):
            mallopt(option, value)


def shard() -> tuple[int, int]:
    """Return this process's rank and the number of processes: (0, 1) unless ``torchrun`` started several."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def moved(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Return CPU tensors on the device, those of one data type in one transfer that the host does not wait for."""
    if device.type == "cpu":
        return list(tensors)
    found: dict[int, Tensor] = {}
    for kind in dict.fromkeys(tensor.dtype for tensor in tensors):
        places = [place for place, tensor in enumerate(tensors) if tensor.dtype == kind]
        packed = torch.cat([tensors[place].flatten() for place in places])
        if device.type == "cuda":
            packed = packed.pin_memory()
        parts = packed.to(device, non_blocking=True).split([tensors[place].numel() for place in places])
        found |= {place: part.view(tensors[place].shape) for place, part in zip(places, parts, strict=True)}
    return [found[place] for place in range(len(tensors))]


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the processes that ``torchrun`` started, NCCL on GPUs and gloo on CPUs; nothing where there is one."""
    if shard()[1] == 1:
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def add_over_processes(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over all processes, in place."""
    if shard()[1] > 1:
        for tensor in tensors:
            distributed.all_reduce(tensor)


def precision_on(params: ComputeParams, device: torch.device) -> str:
    """Return the precision asked for, or float32, with a line that says so, where bfloat16 has no hardware."""
    if params.precision == "bfloat16" and not has_bfloat16(device):  # emulated it is a hundred times slower
        say_once(f"{NOTICE}this {device.type} has no bfloat16 arithmetic; computing in float32")
        return "float32"
    return params.precision


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the device computes in bfloat16 itself, rather than by emulation."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@cache
def say_once(text: str) -> None:
    """Print a line on standard error, unless this process has printed it before."""
    print(text, file=sys.stderr, flush=True)


def accelerated(function: Callable[..., Tensor], params: ComputeParams, device: torch.device) -> Callable[..., Tensor]:
    """Return ``function`` as the params say: under bfloat16 autocast, compiled, or as it is. Results are float32.

    Raises :class:`ParamsError` where ``compile`` is asked for on a machine without the compiler that it needs.
    """
    if params.compile:
        check_compiler(device)
        # The full graph or an error: parts that run uncompiled would not be safe to call from several threads.
        # A second batch size makes the batch dimension dynamic, so that many sizes cost two compilations.
        function = torch.compile(function, fullgraph=True)
    if precision_on(params, device) == "float32":
        return function

    def in_bfloat16(*arguments: Any) -> Tensor:
        # The cache of cast weights would be stale once the pool blends new weights in place.
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            return function(*arguments).float()

    return in_bfloat16


def check_compiler(device: torch.device) -> None:
    """Raise :class:`ParamsError` where there is no C++ compiler for a CPU, or no C compiler for Triton on a GPU."""
    on_cpu, on_gpu = (os.environ.get("CXX") or "c++", "g++", "clang++"), (os.environ.get("CC") or "gcc", "gcc", "clang")
    wanted = {"cpu": ("C++", "g++", on_cpu), "cuda": ("C", "gcc", on_gpu)}
    language, install, compilers = wanted.get(device.type, ("", "", ()))
    if compilers and not any(map(shutil.which, compilers)):
        reason = f"this machine has no {language} compiler (install {install}, or set it to false)"
        raise ParamsError(f"compile: is true, but {reason}")


def images_at_once(width: int, resolution: int, device: torch.device) -> int:
    """Return how many images through a network at once fill a GPU, or a CPU's cache."""
    limit = CPU_ACTIVATIONS if device.type == "cpu" else GPU_ACTIVATIONS
    return max(1, limit // (width * resolution**2))


def pieces(count: int, at_once: int) -> list[slice]:
    """Cut ``count`` into the fewest slices of at most ``at_once``, of equal length or one apart."""
    number = max(1, -(-count // at_once))
    return [slice(count * piece // number, count * (piece + 1) // number) for piece in range(number)]


class StoppedError(Exception):
    """Raised in a worker of :func:`side_by_side` that shall stop, since another failed or the user interrupted."""


def side_by_side(
    count: int,
    done: Collection[int],
    work: Callable[[int, Check], Result],
    finished: Callable[[int, Result], None],
    device: torch.device,
) -> None:
    """Call ``work(index, check)`` for every index below ``count`` that is not ``done``, and ``finished(index, result)``
    after each, in the calling thread.

    On a CPU as many calls run at once as :func:`usable_cores` has room for, each on the caller's number of threads,
    which is faster than one at a time on all (docs/performance.md). ``work`` must draw from its own
    generators, and call ``check`` often.
    """
    waiting = [index for index in range(count) if index not in done]
    threads = torch.get_num_threads()
    workers = min(usable_cores() // threads, len(waiting)) if device.type == "cpu" else 1
    if workers <= 1:
        for index in waiting:
            finished(index, work(index, lambda: None))
        return
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise StoppedError

    # Each thread has its own count (OpenMP), and a new one starts with the default.
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads,))
    try:
        running = {pool.submit(work, index, check): index for index in waiting}
        while running:
            ended, _ = wait(running, timeout=1, return_when=FIRST_COMPLETED)  # a signal is seen within a second
            # What is finished is kept before a failure of another call ends all.
            for future in sorted(ended, key=lambda one: one.exception() is not None):
                finished(running.pop(future), future.result())
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
