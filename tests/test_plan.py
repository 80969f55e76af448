"""Plans and costs: the closed forms against torch's own count, the rates against the benchmarks' files, the sums."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import CHANNELS, CLASSES, NETWORK, PER_CLASS, RESOLUTION, TINY_DISTILL, run_pretrain, write_dataset
from torch.utils.flop_counter import FlopCounterMode

from ncfm import cli
from ncfm.campaign import campaign
from ncfm.campaign.costs import CPU, DEVICES, H100
from ncfm.campaign.plan import cost_of, costs_of, memory, plan, plan_text, reported_seconds, seconds_of, warning
from ncfm.core.layout import record_file
from ncfm.core.params import DistillParams, EvaluateParams, PretrainParams
from ncfm.core.seeding import generator
from ncfm.datasets.catalogue import each, facts_of
from ncfm.datasets.split import load_split
from ncfm.method.distillation import Distillation
from ncfm.method.pool import Pool
from ncfm.method.training import train
from ncfm.models.registry import ARCHITECTURES, build
from ncfm.stages import cells as kinds
from ncfm.stages import costs, table
from ncfm.stages.costs import Cost, Reads

ROOT = Path(__file__).parent.parent
SNAKEMAKES = 4.5e8  # bytes: what the two Snakemakes of a job on a cluster hold
MEASURED = ROOT / "benchmarks/results/cpu-2"
CIFAR = facts_of("cifar10")
MADE = replace(
    CIFAR,
    resolution=RESOLUTION,
    sizes=each(CLASSES, PER_CLASS, PER_CLASS),
    mean=(0.5,) * CHANNELS,
)


def counted(function) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize(("arch", "resolution"), [("convnet-3", 32), ("convnet-4", 64), ("convnet-5", 32)])
@pytest.mark.parametrize("norm", ["instance", "none"])
def test_a_network_is_counted_as_torch_counts_it(arch, resolution, norm):
    facts = replace(CIFAR, resolution=resolution)
    work = costs.network_work(arch, facts, 16, norm)
    shape = {"channels": 3, "resolution": resolution, "classes": 10, "width": 16, "norm": norm}
    network = build(arch, **shape, generator=generator("weights"))
    images = torch.zeros(5, 3, resolution, resolution)
    assert counted(lambda: network.features(images)) == 5 * work.body
    assert counted(lambda: network(images)) == costs.testing(work, 5).flop
    assert (network.feature_dimension, sum(p.numel() for p in network.parameters())) == (work.features, work.parameters)

    def training() -> None:
        labels = torch.zeros(5, dtype=torch.int64)
        params = EvaluateParams(epochs=2, batch=3)
        train(network, lambda rows: images[rows], labels, params, ("made",), lambda *_: None)

    assert counted(training) == costs.training(EvaluateParams(epochs=2, batch=3), work, 5).flop


SHAPES = [(arch, 10, 32, 128, 0) for arch in ARCHITECTURES]
SHAPES += [(arch, 200, 64, 64, 0.05) for arch in ("resnet-18", "alexnet")]


@pytest.mark.parametrize(("arch", "classes", "resolution", "width", "tolerance"), SHAPES)
def test_every_network_says_what_it_costs_and_scales(arch, classes, resolution, width, tolerance):
    work = costs.network_work(
        arch, replace(CIFAR, sizes=each(classes, 500, 100), resolution=resolution), width, "default"
    )
    shape = {"channels": 3, "resolution": resolution, "classes": classes, "width": width, "norm": "default"}
    network, images = build(arch, **shape, generator=generator("weights")), torch.zeros(1, 3, resolution, resolution)
    body, parameters = counted(lambda: network.features(images)), sum(p.numel() for p in network.parameters())
    assert network.feature_dimension == work.features
    assert body == pytest.approx(work.body, rel=tolerance)
    assert counted(lambda: network(images)) - body == work.head
    assert parameters == pytest.approx(work.parameters, rel=tolerance)


@pytest.mark.parametrize(
    "changes",
    [
        {"frequencies": "gaussian", "update": "per-class"},
        {"frequencies": "mixture"},
        {"frequencies": "mixture", "update": "per-class", "factor": 1},
        {"frequencies": "released"},
        {"frequencies": "mixture", "recompute": True},
        {"frequencies": "gaussian", "recompute": True, "calibration": 0},
        {"discrepancy": "mmd", "calibration": 0},
    ],
    ids=str,
)
def test_a_distillation_is_counted_as_torch_counts_it(changes, tmp_path):
    data = write_dataset(tmp_path / "data")
    pool = Pool(run_pretrain(data, tmp_path / "pool.safetensors", epochs=1), torch.device("cpu"))
    params = DistillParams(**{**TINY_DISTILL, **changes, "iterations": 1})
    run = Distillation(params, load_split(data, "train", torch.device("cpu")), pool, 2, 0)
    reads = Reads(MADE, 2, pool=PretrainParams(width=NETWORK["width"]))
    kernels = 0  # MMD and MSE compare means, a few products that the closed form leaves out
    if params.discrepancy == "mmd":
        kernels = 0.01 * counted(run.step)
    assert counted(run.step) == pytest.approx(costs.distill(params, reads).work.flop, abs=kernels)


def test_the_memory_of_a_job_in_closed_form():
    """CIFAR-10 on ConvNet-3 of width 128: 172,032 activations an image, 320,010 weights, 2048 features."""
    pool = PretrainParams(pool=20, batch=128)
    pixels = 3 * 32 * 32
    files = 20 * 2 * 4 * 320010
    assert costs.dataset_bytes(CIFAR) == 60000 * (pixels + 8)
    tested = 10 * 500 * 172032 + 16 * 320010
    assert costs.pretrain(pool, Reads(CIFAR, pool=pool)).memory == tested + files
    evaluation = EvaluateParams(batch=256, networks=3)
    trained = 28 * 256 * 172032 + 16 * 320010  # more than the test
    assert costs.evaluate(evaluation, Reads(CIFAR, 10, 2, pool)).memory == trained + 4 * pixels * 10 * 10 * 4
    matched = DistillParams(discrepancy="mmd", factor=2, calibration=0)
    held = 28 * 200 * 172032 + 16 * 320010 + 16 * 500 * pixels + files
    assert costs.distill(matched, Reads(CIFAR, 50, 2, pool)).memory == held
    both = matched.model_copy(update={"calibration": 1.0})
    assert costs.distill(both, Reads(CIFAR, 50, 2, pool)).memory == held + 28 * 200 * 172032
    bounded = both.model_copy(update={"recompute": True, "images_at_once": 16})
    assert costs.distill(bounded, Reads(CIFAR, 50, 2, pool)).memory == held - 28 * 168 * 172032
    psi = {"discrepancy": "ncfd", "num_frequencies": 4096, "batch_real": 1024}
    gaussian = matched.model_copy(update={**psi, "frequencies": "gaussian"})
    frequencies = 16 * 4096 * (2048 + 1024 + 200)
    assert costs.distill(gaussian, Reads(CIFAR, 50, 2, pool)).memory == held + frequencies
    learned = matched.model_copy(update={**psi, "frequencies": "mixture"})
    assert costs.distill(learned, Reads(CIFAR, 50, 2, pool)).memory == held + frequencies + 48 * 3 * 2048**2


def test_no_more_images_are_held_at_once_than_there_are():
    """However large a batch is asked for: ten images of CIFAR-10 to learn from, 500 to test on, 50,000 to pretrain."""
    pool = PretrainParams(batch=10**6)
    trained = 16 * 320010 + 10 * 500 * 172032  # in a test more than in training
    assert costs.evaluate(EvaluateParams(batch=10**6), Reads(CIFAR, 1, 1, pool)).memory == trained + 4 * 3072 * 10
    files = Reads(CIFAR, pool=pool).pool_bytes
    assert costs.pretrain(pool, Reads(CIFAR, pool=pool)).memory == 28 * 50000 * 172032 + 16 * 320010 + files
    all_at_once = DistillParams(discrepancy="mmd", calibration=0, images_at_once=10**9, batch_real=100)
    held = 10 * 1000 * 172032 + 16 * 320010 + 16 * 10 * 3072 + files  # real images, which learn nothing
    assert costs.distill(all_at_once, Reads(CIFAR, 1, 2, pool)).memory == held


def test_a_job_asks_for_its_data_and_on_a_gpu_for_no_more():
    cell, cost = kinds.Pretrain("cifar10", "convnet-3"), Cost(0.0, network=1e9, shared=5e8)
    data = 60000 * (3 * 32 * 32 + 8)
    assert memory(cell, cost, networks=2) == 2e9 + data + 5e8 + 2e9  # threads of one process
    assert memory(cell, cost, networks=2, processes=2) == 2e9 + 2 * (data + 5e8 + 1e9)
    assert memory(cell, cost, gpus=1) == 4e9 + data
    assert memory(cell, None) == 2e9 + data + 6e9  # a network that says nothing of its work
    assert memory(kinds.Report(), None) == 2e9


def test_a_job_has_a_core_for_each_network_that_it_computes_at_a_time():
    """On a GPU the networks of a pool are trained one after the other, and a core each would stand idle."""
    pool, split = PretrainParams(pool=20), DistillParams(processes=4)
    cases = (("pretrain", pool, 20, 1), ("distill", split, 4, 4), ("evaluate", EvaluateParams(networks=3), 1, 1))
    for stage, params, on_cpus, on_gpus in cases:
        assert [table.STAGES[stage].at_a_time(params, gpus) for gpus in (0, on_gpus)] == [on_cpus, on_gpus]


@pytest.mark.parametrize(
    "name", ["digits", "cifar10", "cifar10-ipc10", "forgetting-cifar10", "herding-cifar10", "protocols"]
)
def test_no_published_run_held_more_than_a_cluster_would_give_it(name, monkeypatch):
    """With two networks at a time, as it ran; the estimate is no more than three times of what was held at most."""
    monkeypatch.chdir(ROOT)
    records, chosen = json.loads((ROOT / f"results/published/{name}/records.json").read_text()), campaign.load(name)
    checked = 0
    for cell, cost in costs_of(chosen).items():
        record = records.get(str(record_file(table.output(name, cell)).relative_to(f"results/{name}")))
        if record and "peak_gb" in record and cell.stage != "prepare":  # which runs where one submits
            held, estimate = 1e9 * record["peak_gb"]["process"], memory(cell, cost)
            assert held + SNAKEMAKES < 2 * estimate and estimate < 2e9 + 3 * held, cell.key
            checked += 1
    assert checked


def test_rates_are_those_of_the_benchmarks():
    """The model is right within a factor of 2.5: machines of one name differ by two."""
    network = costs.network_work("convnet-3", CIFAR, 128, "instance")
    released = {"frequencies": "gaussian", "num_frequencies": 4096, "iterations": 1}
    distillation = {"pieces": {}, "pieces, compiled": {"compile": True}, "pieces, bfloat16": {"precision": "bfloat16"}}
    distillation["pieces, compiled, bfloat16"] = {"compile": True, "precision": "bfloat16"}
    networks = {label.replace("pieces", "side by side"): changes for label, changes in distillation.items()}
    checked = 0
    for file, variants, work in (
        ("distillation-cifar10-ipc10", distillation, costs.distill(DistillParams(**released), Reads(CIFAR, 10)).work),
        ("pretraining-epoch", networks, costs.training(PretrainParams(epochs=1), network, 50000)),
        ("evaluation-network", networks, costs.training(EvaluateParams(), network, 400)),
    ):
        measured = json.loads((MEASURED / f"{file}.json").read_text())
        assert work.flop == measured["flop"]
        for label, changes in variants.items():
            ratio = CPU.seconds(work, DistillParams(**changes)) / measured["variants"][label]["seconds"]
            assert 0.4 < ratio < 2.5, (file, label)
            checked += 1
    assert checked == 12


def test_only_the_measured_device_says_that_it_was():
    assert ["never measured" in device.source for device in DEVICES] == [False, True, True]
    assert (ROOT / CPU.source.split(" ")[0]).is_dir()


def test_a_plan_counts_every_cell_once(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    chosen = campaign.load("cifar10-cpu")
    lines = plan(costs_of(chosen))
    assert [(line.stage, line.dataset) for line in lines] == [
        (stage, "cifar10") for stage in ("prepare", "pretrain", "distill", "select", "evaluate")
    ]
    assert sum(line.cells for line in lines) == len(chosen.cells) - 1  # the report has no data set
    assert not any(line.unknown for line in lines)
    pool = next(line for line in lines if line.stage == "pretrain")
    params = PretrainParams(width=32, pool=5, epochs=5)
    work = costs.pretrain(params, Reads(CIFAR, pool=params)).work
    assert pool.hours == pytest.approx(tuple(device.seconds(work, params) / 3600 for device in DEVICES))
    assert cli.main(["plan", "cifar10-cpu"]) == 0
    assert capsys.readouterr().out == plan_text(chosen)


def test_curated_sets_are_evaluated_at_their_sources_factor(monkeypatch):
    monkeypatch.chdir(ROOT)
    chosen = campaign.load("protocols")
    tested = [cell for cell in chosen.cells_of("evaluate") if cell.protocol == "dm"]
    hours = {cell.method: seconds_of([cost_of(cell, chosen)])[0] for cell in tested}
    assert hours["paper-curated"] == hours["paper"] > hours["random"] == hours["random-curated"]
    assert hours["whole"] > 10 * hours["paper"]
    lines = {line.stage: line for line in plan(costs_of(chosen))}
    facts, disk = facts_of("digits"), sum(cost_of(cell, chosen).disk for cell in chosen.cells_of("select"))
    assert lines["select"].disk == disk
    (whole,) = (cell for cell in chosen.cells_of("select") if cell.method == "whole")
    assert cost_of(whole, chosen).disk == facts.classes * whole.ipc * facts.channels * facts.resolution**2  # bytes
    assert lines["curate"].cells == 12
    assert not lines["curate"].unknown and not lines["evaluate"].unknown


def test_the_plan_of_the_paper_knows_every_cell_and_each_artefact(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    chosen = campaign.load("paper")
    text = plan_text(chosen)
    assert "?" not in text and not any(line.unknown for line in plan(costs_of(chosen)))
    whole, one = plan(costs_of(chosen)), plan(costs_of(chosen, "table4"))
    assert [line.dataset for line in one] == ["cifar10"] * 5
    assert sum(line.cells for line in one) == len(chosen.artefacts["table4"])
    assert sum(line.hours[0] for line in one) < sum(line.hours[0] for line in whole)
    rows = {line.split()[0]: line.split()[1] for line in text.splitlines() if line.startswith(tuple(chosen.artefacts))}
    assert rows == {name: str(len(cells)) for name, cells in chosen.artefacts.items()}
    assert cli.main(["plan", "paper", "--artefact", "table4"]) == 0
    assert capsys.readouterr().out == plan_text(chosen, "table4")
    assert cli.main(["plan", "paper", "--artefact", "tabel4"]) == 2
    assert "unknown artefact 'tabel4'; did you mean 'table4'?" in capsys.readouterr().err


def test_a_network_without_a_formula_is_said_to_have_none(monkeypatch):
    monkeypatch.chdir(ROOT)
    chosen = campaign.load("tiny")
    monkeypatch.setattr(costs, "ARCHITECTURES", {})
    text = plan_text(chosen)
    assert "Without an estimate, and not in the sums: 4 cells" in text
    assert [line.split()[-1] for line in text.splitlines() if line.startswith(("pretrain", "evaluate"))] == ["?", "?"]
    assert reported_seconds(CIFAR, 1, PretrainParams(), None, EvaluateParams()) is None


def test_a_reported_number_costs_more_with_more_images_and_with_distillation():
    random, one, ten = (
        reported_seconds(CIFAR, ipc, PretrainParams(), params, EvaluateParams())[0]
        for ipc, params in ((1, None), (1, DistillParams()), (10, DistillParams()))
    )
    assert random < one < ten
    # Another test network costs its evaluation alone: extractors and distillation keep their own.
    slow = [EvaluateParams(arch=arch) for arch in ("convnet-3", "resnet-18")]
    alone, whole = (
        [reported_seconds(CIFAR, 1, PretrainParams(), params, evaluate)[0] for evaluate in slow]
        for params in (DistillParams(factor=1, extractor="random"), DistillParams(factor=1))
    )
    assert whole[1] - whole[0] == pytest.approx(alone[1] - alone[0]) and alone[1] > alone[0]


def test_more_than_a_day_is_said_beforehand(monkeypatch):
    """Of the campaign, or of the artefact that was asked for; what takes hours is begun without a word."""
    monkeypatch.setattr("ncfm.campaign.plan.main_memory", lambda: 2**50)
    chosen = campaign.load("paper")
    (line,) = warning(chosen, None, CPU)
    hours = sum(CPU.seconds(cost.work, cost.params) for cost in costs_of(chosen).values()) / 3600
    assert f"about {hours:,.0f} hours" in line and "snakemake table1" in line
    (part,) = warning(chosen, "table5", H100)
    assert part.startswith("paper table5: about ") and "table1" not in part
    assert warning(campaign.load("digits"), None, CPU) == []


def test_more_memory_or_disk_than_there_is_is_said_beforehand(monkeypatch, capsys):
    """A slip of some digits is seen before anything runs; on a GPU the main memory is not what it takes."""
    monkeypatch.chdir(ROOT)
    chosen = campaign.load("digits")
    monkeypatch.setattr("ncfm.campaign.plan.main_memory", lambda: 2**30)
    (line,) = warning(chosen, None, CPU)
    assert re.fullmatch(r"digits: \w+ digits .* needs about \d\.\d GiB of memory, and this machine has 1\.0 GiB", line)
    assert warning(chosen, None, H100) == []
    assert "; this machine has 1.0 GiB\n" in plan_text(chosen)
    assert cli.main(["plan", "digits"]) == 0
    assert capsys.readouterr().out.count(f"\nnote: {line}\n") == 1
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2**20))
    (line,) = warning(chosen, None, H100)
    assert re.fullmatch(r"digits: writes about [\d.]+ MiB from nothing, and 1\.0 MiB of disk are free here", line)
