"""Frequencies: the moments of the Gaussian ones, the structure of the learned ones, and psi's initial weights."""

from __future__ import annotations

import pytest
import torch

from ncfm.core.seeding import generator
from ncfm.method.frequencies import build_sampling_network, draw_frequencies

DIMENSION = 6


@pytest.fixture
def psi():
    return build_sampling_network(DIMENSION, generator("psi"))


def test_gaussian_moments():
    drawn = draw_frequencies("gaussian", 20000, DIMENSION, generator("t")).double()
    error = 5 / 20000**0.5  # five standard errors
    assert drawn.mean(0).abs().max() < error
    assert (torch.cov(drawn.T) - torch.eye(DIMENSION)).abs().max() < 2 * error
    assert abs((drawn**4).mean() - 3) < 10 * error


@pytest.mark.parametrize("variant", ["gaussian", "mixture", "released"])
@pytest.mark.parametrize("count", [1, 5, 16, 33, 64, 100])
def test_shape_and_determinism(variant, count, psi):
    first = draw_frequencies(variant, count, DIMENSION, generator("t"), psi)
    again = draw_frequencies(variant, count, DIMENSION, generator("t"), psi)
    other = draw_frequencies(variant, count, DIMENSION, generator("u"), psi)
    assert first.shape == (count, DIMENSION)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.isfinite(first).all()


def test_released_variant_has_one_frequency_in_sixteen(psi):
    drawn = draw_frequencies("released", 128, DIMENSION, generator("t"), psi)
    assert drawn.abs().max() < 1
    distinct, counts = drawn.unique(dim=0, return_counts=True)
    assert len(distinct) == 128 // 16
    assert counts.tolist() == [16] * 8


def test_mixture_is_bounded_scales_times_normals(psi):
    draws = generator("t")
    scales = draw_frequencies("released", 128, DIMENSION, draws, psi)
    normals = torch.randn(128, DIMENSION, generator=draws)  # continues the same stream
    mixture = draw_frequencies("mixture", 128, DIMENSION, generator("t"), psi)
    torch.testing.assert_close(mixture, scales * normals)
    assert len(mixture.unique(dim=0)) == 128


@pytest.mark.parametrize("variant", ["gaussian", "mixture", "released"])
def test_the_scale_multiplies_every_frequency(variant, psi):
    whole, tenth = (draw_frequencies(variant, 64, DIMENSION, generator("t"), psi, scale) for scale in (1.0, 0.1))
    torch.testing.assert_close(tenth, whole / 10)


def test_learned_variants_need_psi_and_reach_every_parameter(psi):
    with pytest.raises(ValueError, match="psi"):
        draw_frequencies("mixture", 16, DIMENSION, generator("t"))
    # A component of one sign in all rows of a batch-norm has no gradient, so the square is taken.
    drawn = draw_frequencies("mixture", 128, DIMENSION, generator("t"), psi)
    gradients = torch.autograd.grad(drawn.square().mul(torch.arange(128.0)[:, None]).sum(), list(psi.parameters()))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert gradients[0].abs().sum() > 0


def test_psi_is_built_from_its_generator_alone():
    state = torch.random.get_rng_state()
    first, again, other = (build_sampling_network(DIMENSION, generator(name)) for name in ("a", "a", "b"))
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first[0].weight, other[0].weight)
    assert [layer.weight.shape for layer in first if isinstance(layer, torch.nn.Linear)] == [(6, 6)] * 3
    noise = torch.randn(8, DIMENSION, generator=generator("noise"))
    torch.testing.assert_close(first[:-1](noise).tanh(), first(noise))
