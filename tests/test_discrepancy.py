"""Every discrepancy against closed forms, brute force and finite differences, in float64, and in one contract."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from ncfm.core.params import DistillParams
from ncfm.core.seeding import generator
from ncfm.method.discrepancies import DISCREPANCIES, Discrepancy
from ncfm.method.discrepancies.energy import energy
from ncfm.method.discrepancies.moments import mmd, mse
from ncfm.method.discrepancies.ncfd import amplitude_and_phase as terms
from ncfm.method.discrepancies.ncfd import characteristic_function, ncfd


def normal(*shape: int, name: str = "x") -> torch.Tensor:
    return torch.randn(*shape, generator=generator("test", name), dtype=torch.float64)


normalise = partial(torch.nn.functional.normalize, dim=-1)
REAL, SYNTHETIC, FREQUENCIES = normal(3, 7, 5), normal(3, 4, 5, name="y"), normal(9, 5, name="t")


def complex_function(features: torch.Tensor, frequencies: torch.Tensor) -> torch.Tensor:
    """The definition, one class, frequency and image at a time."""
    return torch.stack(
        [torch.stack([torch.exp(1j * (one @ t)).mean() for t in frequencies.to(one.dtype)]) for one in features]
    )


def amplitude_and_phase(real, synthetic, frequencies):
    return terms(characteristic_function(real, frequencies), characteristic_function(synthetic, frequencies))


def test_characteristic_function_is_the_mean_of_exponentials():
    real, imaginary = characteristic_function(REAL, FREQUENCIES)
    torch.testing.assert_close(torch.complex(real, imaginary), complex_function(REAL, FREQUENCIES))


def test_characteristic_function_of_a_gaussian():
    """Equally likely quantiles of N(0, s^2) along one axis: exp(-t^2 s^2 / 2), purely real."""
    levels = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    for deviation in (0.5, 1.0, 2.0):
        points = torch.zeros(1, 20000, 2, dtype=torch.float64)
        points[0, :, 1] = deviation * torch.special.ndtri(levels)
        frequencies = torch.tensor([[3.0, 0.0], [0.0, 0.3], [5.0, 1.0], [-1.0, -2.0]], dtype=torch.float64)
        real, imaginary = characteristic_function(points, frequencies)
        expected = torch.exp(-(frequencies[:, 1] ** 2) * deviation**2 / 2)
        torch.testing.assert_close(real[0], expected, atol=1e-3, rtol=0)
        torch.testing.assert_close(imaginary[0], torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)


def test_two_points_against_one():
    """{a, -a} has cos<t, a>, {0} has 1: the amplitudes are |cos| and 1, the phases differ by 0 or pi."""
    point = normal(5, name="a")
    cosine = (FREQUENCIES @ point).cos()
    amplitude, phase = amplitude_and_phase(
        torch.stack([point, -point])[None], torch.zeros(1, 1, 5).double(), FREQUENCIES
    )
    torch.testing.assert_close(amplitude[0], (cosine.abs() - 1).square())
    torch.testing.assert_close(phase[0], 2 * (cosine.abs() - cosine), atol=1e-14, rtol=1e-10)


def test_shifted_sets_differ_by_pure_phase():
    shift = 0.3 * normal(5, name="shift")
    real, imaginary = characteristic_function(REAL, FREQUENCIES)
    squared = real.square() + imaginary.square()
    expected = 2 * squared * (1 - (FREQUENCIES @ shift).cos())
    amplitude, phase = amplitude_and_phase(REAL, REAL + shift, FREQUENCIES)
    torch.testing.assert_close(amplitude, torch.zeros_like(amplitude), atol=1e-14, rtol=0)
    torch.testing.assert_close(phase, expected)
    torch.testing.assert_close(ncfd(REAL, REAL + shift, FREQUENCIES, 0.5), (expected / 2).sqrt().mean(-1))
    assert ncfd(REAL, REAL + shift, FREQUENCIES, 1.0).max() < 1e-7  # amplitude alone does not see a shift


def test_scaled_sets_differ_by_pure_amplitude():
    real, synthetic = torch.cat([REAL, -REAL], 1), torch.cat([REAL, -REAL], 1) * 0.5  # symmetric: real, and near 0
    frequencies = 0.1 * FREQUENCIES
    amplitude, phase = amplitude_and_phase(real, synthetic, frequencies)
    assert phase.abs().max() < 1e-12
    assert amplitude.min() > 0
    torch.testing.assert_close(ncfd(real, synthetic, frequencies, 1.0), amplitude.sqrt().mean(-1))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9])
def test_frequencies_near_zero_see_the_mean_alone(alpha):
    frequencies = 1e-3 * FREQUENCIES
    between_CF = ((REAL.mean(1) - SYNTHETIC.mean(1)) @ frequencies.T).abs()
    torch.testing.assert_close(
        ncfd(REAL, SYNTHETIC, frequencies, alpha), (1 - alpha) ** 0.5 * between_CF.mean(-1), rtol=1e-3, atol=0
    )


def test_amplitude_and_phase_add_up_to_the_distance():
    difference = complex_function(REAL, FREQUENCIES) - complex_function(SYNTHETIC, FREQUENCIES)
    amplitude, phase = amplitude_and_phase(REAL, SYNTHETIC, FREQUENCIES)
    torch.testing.assert_close(amplitude + phase, difference.abs().square())
    half = ncfd(REAL, SYNTHETIC, FREQUENCIES, 0.5)
    torch.testing.assert_close(half, difference.abs().mean(-1) / 2**0.5)
    without_root = ncfd(REAL, SYNTHETIC, FREQUENCIES, 0.5, root=False)
    torch.testing.assert_close(without_root, difference.abs().square().mean(-1) / 2)
    torch.testing.assert_close(ncfd(REAL, SYNTHETIC, FREQUENCIES, 1.0), amplitude.sqrt().mean(-1))
    torch.testing.assert_close(ncfd(REAL, SYNTHETIC, FREQUENCIES, 0.0), phase.sqrt().mean(-1))
    for alpha in (0.0, 0.2, 0.9, 1.0):
        assert (ncfd(REAL, SYNTHETIC, FREQUENCIES, alpha) <= (4 * max(alpha, 1 - alpha)) ** 0.5).all()


@pytest.fixture(params=DISCREPANCIES)
def entry(request) -> Discrepancy:
    return DISCREPANCIES[request.param]


def distance_of(entry: Discrepancy, **changes):
    """Return the entry as a function of the two sides, as a distillation calls it."""
    frequencies, params = FREQUENCIES if entry.uses_frequencies else None, DistillParams(**changes)
    return lambda real, synthetic, weights=None: entry.measure(real, synthetic, weights, frequencies, params)


def test_symmetric_and_blind_to_order_and_to_other_classes(entry):
    distance = distance_of(entry)
    values = distance(REAL, SYNTHETIC)
    assert values.shape == (3,)
    torch.testing.assert_close(distance(SYNTHETIC, REAL), values)
    torch.testing.assert_close(distance(REAL.flip(1), SYNTHETIC.roll(1, 1)), values)
    each = [distance(REAL[c : c + 1], SYNTHETIC[c : c + 1]) for c in range(3)]
    torch.testing.assert_close(torch.cat(each), values)


def test_weights_leave_out_what_fills_a_row_up(entry):
    """Classes of 2, 4 and 7 real images in one table give what each gives alone."""
    distance, counts = distance_of(entry), (2, 4, 7)
    table, weights = 9 * torch.ones_like(REAL[:, :7]), torch.zeros(3, 7).double()
    for label, count in enumerate(counts):
        table[label, :count], weights[label, :count] = REAL[label, :count], 1 / count
    alone = [distance(REAL[c : c + 1, :count], SYNTHETIC[c : c + 1]) for c, count in enumerate(counts)]
    torch.testing.assert_close(distance(table, SYNTHETIC, weights), torch.cat(alone))


def test_its_gradient_leads_down(entry):
    distance, synthetic = distance_of(entry), SYNTHETIC.clone().requires_grad_()
    before = distance(REAL, synthetic)
    (gradient,) = torch.autograd.grad(before.sum(), synthetic)
    assert gradient.flatten(1).norm(dim=1).min() > 0
    assert (distance(REAL, synthetic.detach() - 0.05 * gradient) < before).all()


def test_only_the_discrepancies_that_say_so_read_alpha(entry):
    values = [distance_of(entry, alpha=alpha)(REAL, SYNTHETIC) for alpha in (0.1, 0.9)]
    assert torch.equal(*values) == ("alpha" not in entry.reads)
    assert set(entry.reads) <= set(DistillParams.model_fields)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("images", [1, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_sets_are_at_zero_with_finite_gradients(alpha, images, dtype):
    real = normalise(REAL[:, :images].to(dtype))
    synthetic = real.clone().requires_grad_()
    frequencies = FREQUENCIES.to(dtype).requires_grad_()
    value = ncfd(real, synthetic, frequencies, alpha)
    assert value.max() < 1e-3  # float32 rounding under a square root
    for gradient in torch.autograd.grad(value.sum(), [synthetic, frequencies]):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_vanishing_characteristic_function_has_finite_gradients(alpha):
    """Points half a period apart cancel, where |Px| has no derivative."""
    real = torch.tensor([[[0.0], [torch.pi]]], dtype=torch.float64)
    synthetic = real.flip(1).clone().requires_grad_()
    frequency = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    for gradient in torch.autograd.grad(ncfd(real, synthetic, frequency, alpha).sum(), [synthetic, frequency]):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_gradient_of_ncfd_against_finite_differences(alpha):
    inputs = [tensor.clone().requires_grad_() for tensor in (REAL[:, :3], SYNTHETIC[:, :2], FREQUENCIES[:4])]
    assert torch.autograd.gradcheck(lambda x, y, t: ncfd(x, y, t, alpha), inputs)


def test_gradients_of_the_others_against_finite_differences():
    inputs = [tensor.clone().requires_grad_() for tensor in (REAL, SYNTHETIC)]
    assert torch.autograd.gradcheck(mmd, inputs)
    assert torch.autograd.gradcheck(mse, inputs)
    assert torch.autograd.gradcheck(energy, inputs)


def test_mmd_is_the_squared_distance_of_means():
    expected = torch.stack([(x.sum(0) / 7 - y.sum(0) / 4).norm() ** 2 for x, y in zip(REAL, SYNTHETIC, strict=True)])
    torch.testing.assert_close(mmd(REAL, SYNTHETIC), expected)


def test_mse_is_the_mean_over_all_pairs_and_mmd_plus_variances():
    pairs = torch.cdist(REAL, SYNTHETIC).square().mean((1, 2))
    torch.testing.assert_close(mse(REAL, SYNTHETIC), pairs)
    variances = sum(side.var(1, correction=0).sum(-1) for side in (REAL, SYNTHETIC))
    torch.testing.assert_close(mse(REAL, SYNTHETIC), mmd(REAL, SYNTHETIC) + variances)


def test_energy_is_twice_the_distance_between_less_the_distances_within():
    def mean_distance(one, other):
        return torch.stack([(x - y).norm() for x in one for y in other]).mean()

    expected = [
        2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)
        for x, y in zip(REAL, SYNTHETIC, strict=True)
    ]
    torch.testing.assert_close(energy(REAL, SYNTHETIC), torch.stack(expected))
    points = torch.tensor([[[0.0, 0.0]], [[1.0, 2.0]]]), torch.tensor([[[3.0, 4.0]], [[1.0, 2.0]]])
    assert energy(*points).tolist() == [10, 0]  # one point each: twice their distance


def test_energy_on_a_line_is_twice_the_area_between_the_distribution_functions_squared():
    """Cramer's distance (Szekely and Rizzo 2013, section 2.1): 2 times the integral of (F - G)^2."""
    real, synthetic = REAL[:1, :, :1], SYNTHETIC[:1, :, :1]
    places = torch.cat([real, synthetic], 1).flatten().sort().values
    heights = [(side.flatten()[:, None] <= places[:-1]).double().mean(0) for side in (real, synthetic)]
    expected = 2 * ((heights[0] - heights[1]).square() * places.diff()).sum()
    torch.testing.assert_close(energy(real, synthetic)[0], expected)


def test_energy_on_a_line_compares_characteristic_functions_at_all_frequencies():
    """Their proposition 1: the integral of |Px - Py|^2 / (pi t^2), here up to |t| = 2000; the tail is below 1e-3."""
    real, synthetic = REAL[:1, :, :1], SYNTHETIC[:1, :, :1]
    step = 0.005
    frequencies = ((torch.arange(400_000, dtype=torch.float64) + 0.5) * step)[:, None]
    amplitude, phase = amplitude_and_phase(real, synthetic, frequencies)
    integral = 2 * step * ((amplitude + phase)[0] / frequencies[:, 0].square()).sum() / torch.pi
    torch.testing.assert_close(energy(real, synthetic)[0], integral, atol=1e-3, rtol=0)


def test_energy_in_float32_keeps_the_small_distances():
    real, synthetic = normalise(normal(2, 40, 64)), normalise(normal(2, 30, 64, name="y"))  # torch would take products
    expected = energy(real, synthetic)
    torch.testing.assert_close(energy(real.float(), synthetic.float()).double(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_energy_is_differentiable_where_features_are_equal(dtype):
    real = normalise(normal(2, 40, 5)).to(dtype)
    synthetic = real.clone().requires_grad_()
    value = energy(real, synthetic)
    (gradient,) = torch.autograd.grad(value.sum(), synthetic)
    assert value.abs().max() < 1e-6
    assert gradient.abs().max() < 1e-6  # each pair of equal features adds zero, the others cancel
    one = synthetic.detach()[:, :1].expand(-1, 3, -1).clone().requires_grad_()  # three equal images
    (gradient,) = torch.autograd.grad(energy(real, one).sum(), one)
    assert torch.isfinite(gradient).all() and gradient.norm() > 0
    torch.testing.assert_close(gradient[:, 0], gradient[:, 1])
