"""The fast engine: golden numbers, pieces, recomputation, precision, compilation, and several processes and threads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import golden
import helpers
import psutil
import pytest
import torch

import ncfm
from ncfm.core.errors import INTERRUPTED, ParamsError
from ncfm.core.params import DistillParams, EvaluateParams
from ncfm.core.seeding import generator
from ncfm.core.store import load_tensors
from ncfm.core.torchvision_shim import notes
from ncfm.datasets.split import load_split
from ncfm.method.distillation import Distillation
from ncfm.method.pool import Pool
from ncfm.report.origins import hardware_text
from ncfm.run import compute, gpus, record
from ncfm.run.record import recorded

CPU = torch.device("cpu")
NO_COMPILER = not any(shutil.which(name) for name in ("c++", "g++", "clang++"))


@pytest.fixture(scope="module")
def pool(data, tmp_path_factory):
    # On images this small instance normalisation sees channels of a few equal values, where rounding decides.
    return helpers.run_pretrain(data, tmp_path_factory.mktemp("pool") / "pool.safetensors", norm="batch")


@pytest.fixture
def gradients(data, pool):
    """Return a function that gives the losses of one iteration and the gradients of the images and of psi."""

    def once(**changes):
        params = DistillParams(**{**helpers.TINY_DISTILL, "learning_rate": 1e-9, **changes})
        run = Distillation(params, load_split(data, "train"), Pool(pool, CPU), 2, 0)
        row = helpers.row_of(run)
        return torch.tensor([row["loss"], row["calibration"]]), run.images.grad, *(p.grad for p in run.psi.parameters())

    return once


def check_close(expected, found):
    """Compare losses and gradients. A ReLU that sits on its kink may tip: moving the pixels by 1e-7 tips it as well."""
    torch.testing.assert_close(found[0], expected[0], rtol=5e-5, atol=0)  # one thread or several: up to 1.6e-5
    images, others = expected[1], found[1]
    psi, again = (torch.cat([gradient.flatten() for gradient in one[2:]]) for one in (expected, found))
    for one, other in ((images, others), (psi, again)):
        assert (one - other).norm() <= 0.03 * one.norm()
    assert ((images - others).abs() <= 1e-4 * images.abs().max()).float().mean() > 0.6


def test_golden_numbers(tmp_path):
    expected = json.loads(golden.FILE.read_text(encoding="utf-8"))
    found = golden.numbers(tmp_path)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=3e-3, abs=1e-6), name


# --- pieces and recomputation


@pytest.mark.parametrize(("count", "at_once"), [(10, 3), (9, 3), (1, 5), (1024, 32), (40, 32), (7, 1)])
def test_pieces_are_few_and_even(count, at_once):
    cut = compute.pieces(count, at_once)
    assert [i for piece in cut for i in range(count)[piece]] == list(range(count))
    lengths = [piece.stop - piece.start for piece in cut]
    assert max(lengths) <= at_once
    assert max(lengths) - min(lengths) <= 1
    assert len(cut) == -(-count // at_once)


@pytest.mark.parametrize("changes", [{"images_at_once": 1}, {"images_at_once": 5}, {"recompute": True}])
def test_pieces_and_recomputation_change_nothing_but_rounding(changes, gradients):
    check_close(gradients(), gradients(**changes))


def test_recomputation_keeps_one_piece_of_activations(data, pool):
    """What the backward pass holds on to must not grow with the number of images, but for the images themselves."""

    def held(ipc, recompute):
        params = DistillParams(**helpers.TINY_DISTILL, recompute=recompute, images_at_once=4, initialisation="noise")
        run = Distillation(params, load_split(data, "train"), Pool(pool, CPU), ipc, 0)
        kept = {}

        def keep(tensor):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            drawn = run.real.draw(8, generator()).siamese
            run.pass_through(run.features, run.images, range(3), drawn)
        return sum(kept.values())

    images = 3 * (16 - 2) * 4  # decoded ones more, at IPC 16 than at IPC 2
    pixels, activations = images * 3 * 8 * 8 * 4, images * 4 * 8 * 8 * 4  # bytes; of the first convolution alone
    grows, grows_recomputed = (held(16, recompute) - held(2, recompute) for recompute in (False, True))
    assert grows_recomputed < 3 * pixels
    assert grows > grows_recomputed + activations


def test_joint_steps_hold_one_group_of_classes(data, pool):
    def peak(at_once):
        run = Distillation(
            DistillParams(**helpers.TINY_DISTILL, images_at_once=at_once),
            load_split(data, "train"),
            Pool(pool, CPU),
            2,
            0,
        )
        held = [0, 0]  # now, at most

        class Kept:
            def __init__(self, tensor):
                self.tensor, self.bytes = tensor, tensor.numel() * tensor.element_size()
                held[:] = held[0] + self.bytes, max(held[1], held[0] + self.bytes)

            def __del__(self):
                held[0] -= self.bytes

        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            run.step()
        assert held[0] == 0
        return held[1]

    assert peak(8) < 0.5 * peak(24)  # 8 decoded images of each of 3 classes


# --- precision and compilation


def test_bfloat16_is_close_to_float32(gradients, monkeypatch, data, pool, tmp_path):
    monkeypatch.setattr(compute, "has_bfloat16", lambda device: True)
    exact, rough = gradients(), gradients(precision="bfloat16")
    torch.testing.assert_close(rough[0], exact[0], rtol=0.05, atol=0)
    assert not torch.equal(rough[0], exact[0])
    assert torch.cosine_similarity(rough[1].flatten(), exact[1].flatten(), dim=0) > 0.95
    assert all(one.dtype == torch.float32 for one in rough)
    stored = helpers.run_distill(data, pool, tmp_path / "set", precision="bfloat16")
    plain, half = (
        json.loads(helpers.run_evaluate(data, stored, tmp_path / f"{p}.json", precision=p).read_text())["networks"]
        for p in ("float32", "bfloat16")
    )
    for one, other in zip(plain, half, strict=True):
        assert [look[2] for look in one["curve"]] == pytest.approx([look[2] for look in other["curve"]], rel=0.05)
        assert one["curve"] != other["curve"]


def test_bfloat16_without_hardware_is_float32_and_says_so(gradients, monkeypatch, capfd):
    monkeypatch.setattr(compute, "has_bfloat16", lambda device: False)
    compute.say_once.cache_clear()
    for left, right in zip(gradients(), gradients(precision="bfloat16"), strict=True):
        assert torch.equal(left, right)
    assert capfd.readouterr().err.count("this cpu has no bfloat16 arithmetic; computing in float32") == 1


@pytest.mark.skipif(NO_COMPILER, reason="no C++ compiler on this machine")
def test_compiled_equals_not_compiled(gradients, data, pool, tmp_path):
    check_close(gradients(), gradients(compile=True))
    stored = helpers.run_distill(data, pool, tmp_path / "set")
    for norm in ("instance", "batch"):  # batch-norm has buffers
        plain, compiled = (
            json.loads(
                helpers.run_evaluate(
                    data, stored, tmp_path / f"{norm}{c}.json", compile=c, norm=norm, networks=3
                ).read_text()
            )["networks"]
            for c in (False, True)
        )
        for one, other in zip(plain, compiled, strict=True):
            assert [look[2] for look in one["curve"]] == pytest.approx([look[2] for look in other["curve"]], rel=1e-3)


def test_no_compiler_is_one_line(gradients, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ParamsError, match=r"^compile: is true, but this machine has no C\+\+ compiler"):
        gradients(compile=True)


def test_a_gpu_too_needs_a_compiler(monkeypatch):
    """Triton builds what starts its kernels with a C compiler."""
    params, cuda = EvaluateParams(compile=True), torch.device("cuda")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ParamsError, match=r"^compile: is true, but this machine has no C compiler \(install gcc, or"):
        compute.accelerated(torch.relu, params, cuda)
    monkeypatch.setattr("shutil.which", lambda name: name if name == "clang" else None)
    compute.check_compiler(cuda)


# --- threads and processes


@pytest.fixture
def threads():
    """Return torch's setter of the number of threads, and undo it."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(("cores", "per_network", "at_once"), [(3, 1, 3), (7, 2, 3), (1, 1, 1), (2, 4, 1), (64, 1, 6)])
def test_side_by_side_gives_every_result_once_on_as_many_threads_as_the_caller_has(
    cores, per_network, at_once, threads, monkeypatch
):
    monkeypatch.setenv("NCFM_CORES", str(cores))
    threads(per_network)
    found, counts, running, most = {}, [], set(), []
    meeting = threading.Barrier(at_once, timeout=60)  # broken unless so many calls run at the same time

    def work(index, check):
        check()
        running.add(index)
        most.append(len(running))
        counts.append(torch.get_num_threads())
        meeting.wait()
        time.sleep(0.05)  # long enough for a call too many to begin
        running.remove(index)
        return index * index

    compute.side_by_side(7, {3}, work, found.__setitem__, CPU)
    assert found == {index: index * index for index in range(7) if index != 3}
    assert counts == [per_network] * 6
    assert max(most) == at_once
    assert torch.get_num_threads() == per_network


def test_a_failure_ends_the_other_calls(threads, monkeypatch):
    monkeypatch.setenv("NCFM_CORES", "2")
    threads(1)
    stopped = []
    meeting = threading.Barrier(2, timeout=60)

    def work(index, check):
        meeting.wait()
        if index == 0:
            raise ValueError("index 0")
        try:
            while True:
                check()
        except compute.StoppedError:
            stopped.append(index)
            raise

    with pytest.raises(ValueError, match="index 0"):
        compute.side_by_side(2, set(), work, lambda index, result: None, CPU)
    assert stopped == [1]


@pytest.mark.parametrize(("said", "given", "expected"), [(None, 3, 3), ("2", 3, 2), ("2", None, 2), (None, None, 5)])
def test_threads_per_network(said, given, expected, threads, monkeypatch, tmp_path):
    """NCFM_THREADS, else what the caller says, else torch's; OMP_NUM_THREADS, which Snakemake sets, has no part."""
    threads(5)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("NCFM_TRACKING", "off")
    monkeypatch.setenv("NCFM_THREADS", said) if said else monkeypatch.delenv("NCFM_THREADS", raising=False)
    with recorded(EvaluateParams(), tmp_path / "e.json", {}, [], threads=given) as record:
        assert torch.get_num_threads() == record.content["hardware"]["threads"] == expected


def test_a_record_names_the_gpu_that_computed_and_a_precision_that_did_not(monkeypatch):
    """A GPU that is there but not used computed nothing; bfloat16 without hardware is float32."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "some GPU")
    monkeypatch.setattr(record, "has_bfloat16", lambda _: False)
    monkeypatch.setenv("NCFM_DEVICE", "cpu")
    found = record.hardware()
    assert found["gpu"] is None
    machine = f"{found['cpu']}, {found['cores']} cores"
    texts = [hardware_text({"hardware": found, "params": {"precision": name}}) for name in ("float32", "bfloat16")]
    assert texts == [machine, f"{machine}, bfloat16 computed in float32"]


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.delenv("NCFM_CORES", raising=False)
    if hasattr(os, "sched_getaffinity"):
        assert compute.usable_cores() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("NCFM_CORES", "3")
    assert compute.usable_cores() == 3
    monkeypatch.setenv("NCFM_CORES", "none")
    with pytest.raises(ParamsError, match=r"^NCFM_CORES: is 'none' \(allowed: a whole number from 1\)$"):
        compute.usable_cores()


def test_cores_change_no_byte(data, pool, tmp_path, threads, monkeypatch):
    stored = helpers.run_distill(data, pool, tmp_path / "set")
    found = []
    for cores, per_network in ((1, 1), (2, 1), (2, 2), (4, 2)):
        monkeypatch.setenv("NCFM_CORES", str(cores))
        threads(per_network)
        folder = tmp_path / f"{cores}-{per_network}"
        made = helpers.run_pretrain(data, folder / "pool.safetensors", pool=3)
        looked = helpers.run_evaluate(data, stored, folder / "e.json", networks=3)
        found.append([path.read_bytes() for path in (made, folder / "pool.history.csv", looked)])
    assert found[0] == found[1]
    assert found[2] == found[3]


def over_processes(data, pool, out, **changes):
    """Start `ncfm distill` on the CPU, into ``out``; what it prints on standard error can be read once it has ended."""
    params = out.with_suffix(".json")
    params.write_text(json.dumps({**helpers.TINY_DISTILL, **changes}))
    command = ["distill", "--params", params, "--data", data, "--extractors", pool, "--ipc", "2", "--method", "test"]
    return subprocess.Popen(
        [sys.executable, "-m", "ncfm.cli", *map(str, command), "--seed", "0", "--out", str(out)],
        env={**os.environ, "NCFM_TRACKING": "off", "NCFM_THREADS": "1", "OMP_NUM_THREADS": "1", "NCFM_DEVICE": "cpu"},
        cwd=Path(__file__).parent.parent,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_classes_over_processes_equal_one_process(data, pool, tmp_path):
    for name, count in (("several", 4), ("one", 1)):  # one of the four has no class
        run = over_processes(data, pool, tmp_path / name, processes=count, iterations=3, learning_rate=0.002)
        assert run.wait(timeout=200) == 0
    images = [load_tensors(tmp_path / name / "distilled.safetensors")[0]["images"] for name in ("several", "one")]
    # Adam makes a part of a step (0.002) of the rounding of a gradient near zero: few pixels, and never a whole step.
    difference = (images[0] - images[1]).abs()
    assert difference.max() < 0.001
    assert (difference > 1e-4).float().mean() < 0.005
    rows = [helpers.rows_of(tmp_path / name / "history.csv") for name in ("several", "one")]
    for one, other in zip(*rows, strict=True):
        assert one == pytest.approx(other, rel=1e-3)
    assert ncfm.load(tmp_path / "several/distilled.safetensors").names["ipc"] == 2
    assert sorted(path.name for path in (tmp_path / "several").iterdir()) == sorted(
        path.name for path in (tmp_path / "one").iterdir()
    )


def first_checkpoint(out):
    """Wait until a distillation into ``out`` has kept one; return its file."""
    checkpoint, end = out / "checkpoint.safetensors", time.monotonic() + 100
    while not checkpoint.exists() and time.monotonic() < end:
        time.sleep(0.01)
    return checkpoint


def test_several_processes_end_when_they_are_asked_to(data, pool, tmp_path):
    run = over_processes(data, pool, tmp_path / "set", processes=2, iterations=10**6, checkpoint_every=1)
    first_checkpoint(tmp_path / "set")
    run.terminate()
    said = run.communicate(timeout=100)[1]
    assert "Traceback" not in said and said.endswith(f"{INTERRUPTED}\n") and run.returncode == 143
    assert not psutil.Process().children()


def test_a_process_of_several_that_is_killed_is_one_line(data, pool, tmp_path):
    run = over_processes(data, pool, tmp_path / "set", processes=2, iterations=10**6, checkpoint_every=1)
    checkpoint = first_checkpoint(tmp_path / "set")
    os.kill(next(one.pid for one in psutil.Process(run.pid).children() if one.environ().get("RANK") == "1"), 9)
    *_, said = run.communicate(timeout=100)[1].splitlines()
    assert run.returncode == 2 and not psutil.Process().children()
    assert said.startswith(
        "ncfm: distill: process 1 of 2 (0 to 1) ended by signal 9 (SIGKILL); the others were stopped"
    )
    assert checkpoint.exists()


HOLD = """
import sys, time
from ncfm.run import gpus
print(*gpus.take(int(sys.argv[1]), sys.argv[2:]), flush=True)
time.sleep(60)
"""


def test_each_process_takes_the_gpus_with_the_fewest_others(monkeypatch):
    """Of a made-up list, one process after the other."""
    first, second, third = names = [f"pretended-{os.getpid()}-{letter}" for letter in "abc"]
    running = []
    try:
        for count, expected in ((1, [first]), (2, [second, third]), (2, [first, second])):
            command = [sys.executable, "-c", HOLD, str(count), *names]
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            assert running[-1].stdout.readline().split() == expected
        running[1].kill()
        running[1].wait()
        assert gpus.take(1, names) == [second]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    with pytest.raises(ParamsError, match=r"^processes: is 4, but there are 3 GPUs"):
        gpus.take(4, names)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-x, 3")
    monkeypatch.delenv("NCFM_DEVICE", raising=False)
    assert gpus.visible() == ["GPU-x", "3"]
    gpus.choose(1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] in ("GPU-x", "3")
    with pytest.raises(ParamsError, match=r"^processes: is 2, but there are 1 GPUs"):
        gpus.choose(2)  # one is visible by now


def test_each_rank_computes_on_its_own_gpu_however_the_device_was_chosen(monkeypatch):
    current = []
    monkeypatch.setattr(torch, "empty", lambda size, device: SimpleNamespace(device=torch.device(device)))
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "1")
    for said, expected in (("cuda", "cuda:1"), ("", "cuda:1"), ("cuda:0", "cuda:0"), ("cpu", "cpu")):
        monkeypatch.setenv("NCFM_DEVICE", said)
        assert compute.chosen_device() == torch.device(expected)
    assert current == [torch.device(one) for one in ("cuda:1", "cuda:1", "cuda:0")]


@pytest.mark.parametrize(("given", "expected"), [("-1", []), ("2,-1,3", ["2"]), ("", [])])
def test_minus_one_is_no_gpu(given, expected, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert gpus.visible() == expected


@pytest.mark.parametrize(
    ("device", "said", "expected"),
    [(None, None, 1), ("cuda", None, 1), ("cpu", None, 0), ("cpu", "1", 1), ("", "0", 0)],
)
def test_jobs_ask_for_no_gpu_where_the_device_is_said_to_be_the_cpu(device, said, expected, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    for name, value in (("NCFM_DEVICE", device), ("NCFM_GPU", said)):
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    assert gpus.wanted() == expected


def test_several_processes_need_joint_steps(data, pool, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    params = DistillParams(**helpers.TINY_DISTILL, update="per-class")
    with pytest.raises(ParamsError, match=r"^update: is 'per-class', but several processes need joint steps"):
        Distillation(params, load_split(data, "train"), Pool(pool, CPU), 1, 0)


def test_images_at_once_follow_the_network():
    assert compute.images_at_once(128, 32, CPU) == 32
    assert compute.images_at_once(128, 4096, CPU) == 1


def test_precision_is_full_by_default():
    assert EvaluateParams().precision == "float32"
    assert not EvaluateParams().compile


def test_a_wrong_pair_of_torch_and_torchvision_is_named():
    assert notes("2.13.0+cpu", "0.28.0", False) == notes("2.11.1", "0.26.0+cu130", False) == []
    assert notes("2.12.0", "0.28.0", False) == ["torch 2.12.0 goes with torchvision 0.27, but 0.28.0 is installed"]
    (line,) = notes("2.13.0+cpu", "0.28.0+cu130", True)
    assert "from ncfm.core.torchvision_shim import torchvision" in line


def test_processes_end_with_the_one_that_started_them(data, pool, tmp_path):
    """Else they would go on without its lock, beside those of the next call."""
    run = over_processes(data, pool, tmp_path / "set", processes=2, iterations=10**6, checkpoint_every=1)
    assert first_checkpoint(tmp_path / "set").exists()
    ranks = [one for one in psutil.Process(run.pid).children() if "RANK" in one.environ()]
    run.kill()
    assert run.wait() == -9 and len(ranks) == 2
    left = psutil.wait_procs(ranks, timeout=30)[1]
    for one in left:
        one.kill()
    assert not left
