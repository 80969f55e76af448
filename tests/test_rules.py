"""The rules of verdicts: coverage by simulation, closed forms, noise, budgets in every class, pairs, looks."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_helpers import CIFAR, collected, evaluate, fill, make, reported

from ncfm.report.tables.comparisons import comparisons_table
from ncfm.report.tables.selection import best_of, selection_table
from ncfm.report.verdicts.differences import Budget, Difference
from ncfm.report.verdicts.intervals import interval, mean_of
from ncfm.report.verdicts.pairs import compare, sign_flip
from ncfm.report.verdicts.rules import MOST_POINTS, Target, Verdict, judge, seeds_text, seeds_to_decide
from ncfm.report.verdicts.table import verdict_table

PAPER = Target(68.9, 0.05, one_set=True)


def campaigns(seeds: int, networks: int, draws: int = 4000) -> np.ndarray:
    """Return simulated accuracies around zero, as much between sets as between networks."""
    generator = np.random.default_rng(7)
    return generator.standard_normal((draws, seeds, 1)) + generator.standard_normal((draws, seeds, networks))


@pytest.mark.parametrize(("seeds", "networks"), [(3, 2), (5, 10), (10, 10)])
@pytest.mark.parametrize("new_set", [False, True])
def test_intervals_cover(seeds, networks, new_set):
    others = campaigns(1, networks)[::-1].mean((1, 2)) if new_set else np.zeros(4000)
    bounds = [interval(values.mean(1), new_set) for values in campaigns(seeds + 1, networks)[:, 1:]]
    covered = np.mean([low <= other <= high for (low, high), other in zip(bounds, others, strict=True)])
    assert 0.93 <= covered <= 0.97


def test_intervals_in_closed_form():
    # t at 0.975 on one degree of freedom is tan(0.475 pi) = 12.706; the deviation of 1 and 3 is sqrt(2)
    half = math.tan(0.475 * math.pi) * math.sqrt(2)
    assert interval([1.0, 3.0]) == pytest.approx((2 - half / math.sqrt(2), 2 + half / math.sqrt(2)))
    assert interval([1.0, 3.0], new_set=True) == pytest.approx((2 - half * math.sqrt(1.5), 2 + half * math.sqrt(1.5)))
    assert interval([1.0]) is None and interval([4.0, 4.0, 4.0]) == (4.0, 4.0)
    # The tried example of five-set rows: 17.3, 18.4, 12.8 have a half-width of 7.3
    low, high = interval([17.3, 18.4, 12.8])
    assert (high - low) / 2 == pytest.approx(7.3, abs=0.1)
    assert mean_of([[1.0, 3.0], [6.0]]) == 4.0  # a seed with one network counts as much as one with two


@pytest.mark.parametrize(
    ("means", "target", "verdict"),
    [
        ([68.7, 69.0, 69.2], PAPER, "reproduced"),
        ([66.0, 69.0, 72.0], PAPER, "inconclusive"),  # inside, but half of the interval is 14.9
        ([68.9], PAPER, "inconclusive"),
        ([68.9, 68.9], PAPER, "inconclusive"),
        ([50.0, 50.1], PAPER, "inconclusive"),  # two seeds decide nothing
        ([60.0, 60.1, 60.2], PAPER, "below"),
        ([75.0, 75.1, 75.2], PAPER, "above"),
        ([68.8, 68.8, 68.8], PAPER, "below"),  # 0.1 below, with no deviation and a margin of 0.05
        ([68.8, 68.8, 68.8], Target(68.9, 0.11, True), "reproduced"),
        # Prior work's number is held against the narrower interval of the mean.
        ([68.0, 68.3, 68.6], Target(69.5, 0.05, one_set=True), "reproduced"),
        ([68.0, 68.3, 68.6], Target(69.5, 0.05, one_set=False), "below"),
        # At a smaller budget.
        ([70.0, 70.1, 70.2], Target(68.9, 0.05, True, smaller=True), "reached at a smaller budget"),
        ([68.7, 69.0, 69.2], Target(68.9, 0.05, True, smaller=True), "reached at a smaller budget"),
        ([66.0, 69.0, 72.0], Target(68.9, 0.05, True, smaller=True), "inconclusive"),
        ([60.0, 60.1, 60.2], Target(68.9, 0.05, True, smaller=True), "not reached at this budget"),
        ([75.0], Target(68.9, 0.05, True, smaller=True), "inconclusive"),
    ],
)
def test_verdicts(means, target, verdict):
    assert judge(means, target) == verdict


def test_inconclusive_lines_say_what_would_decide():
    means = [66.5, 69.0, 71.0]
    assert seeds_to_decide(means, Target(69.0, 0.05, one_set=False)) == 8  # t 2.36 x 2.25 / sqrt(8) = 1.88
    assert (
        seeds_text(means, Target(69.0, 0.05, one_set=False))
        == "about 5 more seeds would decide: the sets deviate by 2.3"
    )
    assert seeds_text(means, PAPER) == "no number of seeds would decide: the sets deviate by 2.3"
    assert seeds_text([69.0], PAPER).startswith("one set says nothing")


STRENGTH = {Verdict.ABOVE: 0, Verdict.BELOW: 0, Verdict.NOT_REACHED: 0}
STRENGTH |= {Verdict.REPRODUCED: 1, Verdict.REACHED: 1, Verdict.INCONCLUSIVE: 2}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    deviations=st.lists(st.floats(-3, 3), min_size=2, max_size=12),
    distance=st.floats(-8, 8),
    one_set=st.booleans(),
    smaller=st.booleans(),
)
def test_more_noise_never_improves_a_verdict(deviations, distance, one_set, smaller):
    """From told apart to near enough to inconclusive, and never back; what is far off never becomes near."""
    target, centred = Target(70.0, 0.05, one_set, smaller), np.array(deviations) - np.mean(deviations)
    found = [judge(70 + distance + noise * centred, target) for noise in (0, 0.1, 0.3, 0.5, 1, 2, 4, 8)]
    # A mean above the number has reached it from the start.
    order = [1 if smaller and distance > 0 and v is Verdict.REACHED else STRENGTH[v] for v in found]
    assert all(one <= other for one, other in pairwise(order))
    far = distance < 0 if smaller else True
    if far and abs(distance) > MOST_POINTS + target.margin + 1e-6:
        assert not {Verdict.REPRODUCED, Verdict.REACHED} & set(found)


@pytest.mark.parametrize(
    ("stage", "field", "ours", "full", "budget"),
    [
        ("distillation", "iterations", 100, 20000, Budget.CHEAPER),
        ("distillation", "iterations", 40000, 20000, Budget.DEARER),
        ("distillation", "batch_real", 128, 1024, Budget.CHEAPER),
        ("distillation", "num_frequencies", 256, 1024, Budget.CHEAPER),
        ("distillation", "precision", "bfloat16", "float32", Budget.CHEAPER),
        ("distillation", "precision", "float32", "bfloat16", Budget.DEARER),
        ("distillation", "learning_rate", 0.0001, 0.001, Budget.OTHER),
        ("distillation", "calibration", 0.0, 1.0, Budget.OTHER),
        ("extractors", "pool", 10, 20, Budget.CHEAPER),
        ("extractors", "epochs", 20, 60, Budget.CHEAPER),
        ("extractors", "width", 64, 128, Budget.CHEAPER),
        ("extractors", "width", 256, 128, Budget.DEARER),
        ("extractors", "arch", "convnet-4", "convnet-3", Budget.OTHER),
        ("evaluation", "looks", 5, 20, Budget.CHEAPER),
        ("evaluation", "looks", 200, 20, Budget.DEARER),
        ("evaluation", "epochs", 100, 2000, Budget.OTHER),
        ("evaluation", "width", 32, 128, Budget.OTHER),
        ("selection", "epochs", 2, 60, Budget.OTHER),
    ],
)
def test_each_field_is_classed(stage, field, ours, full, budget):
    assert Difference(stage, field, ours, full).budget is budget


@pytest.mark.parametrize(
    ("cut", "last", "best"),
    [
        (
            "distill: {iterations: 100, batch_real: 64}\npretrain: {pool: 4, epochs: 20}",
            "not reached at this budget",
            "reached at a smaller budget",
        ),
        ("evaluate: {networks: 3}", "below", "reproduced"),
        ("evaluate: {networks: 3, looks: 5}", "below", "reached at a smaller budget"),
        ("evaluate: {looks: 200}", "below", "protocol differs"),
        ("distill: {iterations: 100}\nevaluate: {width: 64}", "protocol differs", "protocol differs"),
        # A larger rate in fewer iterations takes the images no further than the full 20000 x 0.001, or it does.
        (
            "distill: {iterations: 1000, learning_rate: 0.02}",
            "not reached at this budget",
            "reached at a smaller budget",
        ),
        ("distill: {iterations: 1001, learning_rate: 0.02}", "protocol differs", "protocol differs"),
        ("distill: {learning_rate: 0.002}", "protocol differs", "protocol differs"),
        ("distill: {processes: 4}", "below", "reproduced"),
        ("distill: {iterations: 30000}", "protocol differs", "protocol differs"),
    ],
)
def test_budgets_decide_which_verdict_is_possible(cut, last, best, tmp_path, monkeypatch):
    """Our best is the reported number itself, our last five points below it."""
    joint = CIFAR.replace("released: *three, ", "") if "processes" in cut else CIFAR  # `released` has no joint steps
    chosen = make(tmp_path, monkeypatch, joint + cut + "\n")
    for cell in chosen.cells_of("evaluate"):
        evaluate(chosen, cell, [63.8 + 0.1 * cell.seed] * 3, [68.8 + 0.1 * cell.seed] * 3)
    line = verdict_table(collected().rows, [reported()]).iloc[0]
    assert (line["verdict"], line["verdict_last"], line["n_seeds"]) == (best, last, 3)
    assert ("refutes nothing" in line["reason"]) == (best == "not reached at this budget")
    assert line["interval_of"] == ("one more set" if best == "reproduced" else "the mean")


def test_pairs_are_of_equal_seeds(tmp_path, monkeypatch):
    chosen = make(tmp_path, monkeypatch, CIFAR.replace("mmd: *three", "mmd: {seeds: [1, 2, 3]}"))
    values = {"paper": {0: 10.0, 1: 62.0, 2: 63.0}, "mmd": {1: 60.0, 2: 61.2, 3: 90.0}}
    for cell in chosen.cells_of("evaluate"):
        if cell.method in values:
            evaluate(chosen, cell, [values[cell.method][cell.seed] + one for one in (-1, 1)], [99.0, 99.0])
    table = comparisons_table(collected().rows, [("paper", "mmd"), ("mmd", "paper"), ("paper", "random")])
    assert list(table["pairs"]) == [2, 2, 2, 2] and list(table["ipc"]) == [10, 50, 10, 50]  # random was not evaluated
    line = table.iloc[0]
    assert line["difference"] == pytest.approx(1.9) and line["least_p"] == 0.5 and line["p"] == 0.5
    assert (line["low"], line["high"]) == pytest.approx((1.9 - 12.706 * 0.1, 1.9 + 12.706 * 0.1), abs=1e-3)
    assert set(table["verdict"]) == {"not told apart"}  # two pairs say nothing


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([2.0, 2.1, 1.9, 2.2, 1.8, 2.0], "better"),
        ([-2.0, -2.1, -1.9, -2.2, -1.8, -2.0], "worse"),
        ([2.0, 2.1, 1.9, 2.2, 1.8], "suggests better"),
        ([0.3, -0.3, 0.2, -0.2, 0.1, -0.1], "equal within ±1 point"),
        ([0.3, -0.3, 0.2], "suggests equal within ±1 point"),
        ([3.0, -3.0, 2.0, -2.0, 1.0, -1.0], "not told apart"),
        ([5.0], "not told apart"),
        ([5.0, 5.0], "not told apart"),
        ([5.0, 5.0, 5.0], "suggests better"),
    ],
)
def test_two_methods_against_each_other(differences, verdict):
    assert compare(differences).verdict == verdict


def test_sign_flips_by_hand():
    # Of the eight flips of 1, 2, 3 only +++ and --- have a sum of 6; of -1, 2, 3 also 4 and -4 count.
    assert sign_flip([1.0, 2.0, 3.0]) == 2 / 8
    assert sign_flip([-1.0, 2.0, 3.0]) == 4 / 8
    assert sign_flip([0.0, 0.0]) == 1.0
    assert sign_flip([1.0] * 20) == pytest.approx(1e-5) and sign_flip([1.0, -1.0] * 10) == 1.0


def test_the_best_of_fewer_looks():
    curve = [1.0, 9.0, 3.0, 8.0, 5.0, 4.0]
    assert [best_of(curve, looks) for looks in (1, 2, 3, 6, 7)] == [4.0, 4.0, 9.0, 9.0, None]
    assert best_of([2.0], 1) == 2.0


def test_the_worth_of_looking_is_measured_on_our_curves(tmp_path, monkeypatch):
    chosen = make(tmp_path, monkeypatch, CIFAR)
    cell = next(one for one in chosen.cells_of("evaluate") if (one.method, one.ipc) == ("paper", 10))
    curves = [[50.0, 60.0, 55.0, 58.0, 57.0], [40.0, 41.0, 42.0, 43.0, 44.0]]
    evaluate(chosen, cell, [57.0, 44.0], [60.0, 44.0], curves)
    fill(chosen, {"random": 30.0})
    table = selection_table(collected().rows).set_index(["method", "ipc"])
    line = table.loc[("paper", 10)]
    assert (line["looks"], line["last"], line["gap"]) == (5, 50.5, 1.5)
    assert (line["best_of_1"], line["best_of_2"], line["best_of_5"]) == (0.0, 1.5, 1.5)
    assert np.isnan(line["best_of_20"]) and np.isnan(line["best_of_200"])
    assert list(table.index) == [("paper", 10)]  # a single look has no best of several
