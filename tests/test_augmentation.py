"""Siamese augmentation and CutMix: one draw means one thing for all images, and each step does what its name says."""

from __future__ import annotations

import math

import pytest
import torch

from ncfm.core.params import AUGMENTATIONS
from ncfm.core.seeding import generator
from ncfm.method.augmentation import Draw, apply, cutmix, draw

SIZE = 8
STRATEGIES = [
    *AUGMENTATIONS,
    "_".join(AUGMENTATIONS),
    "color_crop_cutout",
    "color_crop_flip_scale_rotate",
    "",
    "|".join(AUGMENTATIONS),
]


def images(count: int = 6, channels: int = 3, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(count, channels, SIZE, SIZE, generator=generator("images"), dtype=dtype)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("seed", range(6))
class TestContract:
    """What holds for every part of a strategy, alone and together; six seeds reach each of crop, scale and rotate."""

    def test_one_draw_is_the_same_for_both_sides(self, strategy, seed):
        drawn = draw(strategy, 1, SIZE, generator(seed))
        real, synthetic = images()[:4], images()[4:]
        together = apply(torch.cat([real, synthetic]), drawn)
        torch.testing.assert_close(together, torch.cat([apply(real, drawn), apply(synthetic, drawn)]))
        shared = drawn.for_images(torch.zeros(6, dtype=torch.long))
        torch.testing.assert_close(apply(images(), shared), together)

    def test_draws_per_image_equal_single_draws(self, strategy, seed):
        drawn = draw(strategy, 6, SIZE, generator(seed))
        single = [apply(images()[i : i + 1], drawn.for_images(torch.tensor([i]))) for i in range(6)]
        torch.testing.assert_close(apply(images(), drawn), torch.cat(single))

    def test_same_seed_same_draw_and_shape(self, strategy, seed):
        first, again = (apply(images(), draw(strategy, 6, SIZE, generator(seed))) for _ in range(2))
        assert torch.equal(first, again)
        assert first.shape == images().shape
        assert torch.isfinite(first).all()

    def test_differentiable(self, strategy, seed):
        drawn = draw(strategy, 2, SIZE, generator(seed))
        small = images(2, 1, torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: apply(x, drawn), small, fast_mode=True)


@pytest.mark.parametrize("part", AUGMENTATIONS)
def test_every_part_changes_images_and_differs_between_draws(part):
    changed = apply(images(1).expand(20, -1, -1, -1), draw(part, 20, SIZE, generator("many")))
    assert not torch.equal(changed[0], changed[1]) or part == "flip"
    assert len(changed.flatten(1).unique(dim=0)) > 1


def test_empty_strategy_is_the_identity():
    assert torch.equal(apply(images(), draw("", 6, SIZE, generator(0))), images())


def test_one_of_all_parts_is_drawn_for_a_batch():
    steps = {"color": "brightness", "crop": "shift", "cutout": "corner", "flip": "flip"}
    seen = set()
    for seed in range(60):
        drawn = draw("|".join(AUGMENTATIONS), 3, SIZE, generator(seed))
        parts = {part for part, step in steps.items() if getattr(drawn, step) is not None}
        parts |= {drawn.geometry} - {"none"}
        assert len(parts) == 1 and (drawn.matrix is None) == (not parts & {"scale", "rotate"})
        seen |= parts
    assert seen == set(AUGMENTATIONS)


def test_one_of_crop_scale_rotate_is_drawn():
    drawn = [draw("color_crop_flip_scale_rotate", 3, SIZE, generator(seed)) for seed in range(40)]
    assert {one.geometry for one in drawn} == {"crop", "scale", "rotate"}
    for one in drawn:
        assert (one.shift is None) == (one.geometry != "crop")
        assert (one.matrix is None) == (one.geometry == "crop")
        assert one.brightness is not None
        assert one.flip is not None
        assert one.corner is None


def test_ranges_of_the_drawn_parameters():
    many = 4000
    drawn = draw("color_crop_cutout", many, SIZE, generator(0))
    for values, low, high in ((drawn.brightness, -0.5, 0.5), (drawn.saturation, 0, 2), (drawn.contrast, 0.5, 1.5)):
        assert values.shape == (many, 1, 1, 1)
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
    assert drawn.shift.unique().tolist() == [-1, 0, 1]  # an eighth of the side
    assert drawn.corner.unique().tolist() == list(range(-2, 7))  # centres anywhere in the image and on its edge
    scale = draw("scale", many, SIZE, generator(0)).matrix
    assert 1 / 1.2 <= scale[:, [0, 1], [0, 1]].min() < 0.84
    assert 1.19 < scale[:, [0, 1], [0, 1]].max() <= 1.2
    assert scale[:, [0, 1], [1, 0]].abs().max() == scale[:, :, 2].abs().max() == 0
    rotation = draw("rotate", many, SIZE, generator(0)).matrix[:, :, :2]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(2).expand(many, -1, -1))
    angles = torch.atan2(rotation[:, 1, 0], rotation[:, 0, 0]) * 180 / math.pi
    assert -15.0001 <= angles.min() < -14.8
    assert 14.8 < angles.max() <= 15.0001


@pytest.mark.parametrize(("resolution", "reach"), [(16, 2), (28, 4), (32, 4), (36, 5)])  # 28 / 8 = 3.5
def test_crop_reaches_an_eighth_of_the_side_rounded_to_the_nearest(resolution, reach):
    shift = draw("crop", 2000, resolution, generator(0)).shift
    assert shift.unique().tolist() == list(range(-reach, reach + 1))


def test_crop_moves_by_whole_pixels_and_fills_with_zero():
    expected = torch.zeros_like(images())
    expected[:, :, : SIZE - 1, 2:] = images()[:, :, 1:, : SIZE - 2]
    shift = torch.tensor([[1, -2]])
    assert torch.equal(apply(images(), Draw("crop", shift=shift)), expected)
    assert torch.equal(apply(images(), Draw("crop", shift=shift.expand(6, -1))), expected)
    mixed = apply(images(2), Draw("crop", shift=torch.tensor([[1, -2], [0, 0]])))
    assert torch.equal(mixed, torch.stack([expected[0], images()[1]]))


@pytest.mark.parametrize(("corner", "rows", "columns"), [((2, 3), (2, 6), (3, 7)), ((-2, 6), (0, 2), (6, 8))])
def test_cutout_zeroes_a_box_of_half_the_side(corner, rows, columns):
    expected = images().clone()
    expected[:, :, rows[0] : rows[1], columns[0] : columns[1]] = 0
    assert torch.equal(apply(images(), Draw("none", corner=torch.tensor([corner]))), expected)


def test_colour_steps():
    def one(value: float) -> torch.Tensor:
        return torch.full((1, 1, 1, 1), value)

    x = images()
    torch.testing.assert_close(apply(x, Draw("none", brightness=one(0.3))), x + 0.3)
    grey = apply(x, Draw("none", saturation=one(0.0)))
    torch.testing.assert_close(grey, x.mean(1, keepdim=True).expand_as(x))
    torch.testing.assert_close(apply(x, Draw("none", saturation=one(1.0))), x)
    flat = apply(x, Draw("none", contrast=one(0.0)))
    torch.testing.assert_close(flat, x.mean((1, 2, 3), keepdim=True).expand_as(x))
    strong = apply(x, Draw("none", contrast=one(1.5)))
    torch.testing.assert_close(strong.std((1, 2, 3)), 1.5 * x.std((1, 2, 3)))
    # Saturation comes before contrast: at zero contrast nothing of it is left, and brightness stays.
    both = apply(x, Draw("none", brightness=one(0.3), saturation=one(2.0), contrast=one(0.0)))
    torch.testing.assert_close(both, flat + 0.3)


def test_grey_images_have_no_saturation():
    grey = images(channels=1)
    assert torch.equal(apply(grey, Draw("none", saturation=torch.full((1, 1, 1, 1), 1.7))), grey)
    as_colour = grey.expand(-1, 3, -1, -1)
    torch.testing.assert_close(apply(as_colour, Draw("none", saturation=torch.full((1, 1, 1, 1), 1.7))), as_colour)


def test_flip_is_horizontal_and_per_image():
    flipped = apply(images(2), Draw("none", flip=torch.tensor([True, False])))
    assert torch.equal(flipped, torch.stack([images()[0].flip(-1), images()[1]]))


def test_geometry_without_effect_is_the_identity():
    matrix = torch.eye(2, 3)[None]
    torch.testing.assert_close(apply(images(), Draw("rotate", matrix=matrix)), images())
    turned = apply(images(), Draw("rotate", matrix=torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])))
    torch.testing.assert_close(turned, images().rot90(1, (2, 3)), atol=1e-5, rtol=1e-5)


def test_cutmix_reports_the_share_of_pixels():
    constant = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 3, SIZE, SIZE)
    shares = []
    for seed in range(40):
        mixed, order, share = cutmix(constant, generator(seed))
        assert order.sort().values.tolist() == list(range(5))
        for index, image in enumerate(mixed):
            kept, pasted = image == index, image == order[index]
            assert (kept | pasted).all()
            if order[index] != index:
                assert kept.float().mean().item() == pytest.approx(share, abs=1e-6)
        shares.append(share)
        again = cutmix(constant, generator(seed))
        assert torch.equal(again[0], mixed)
        assert torch.equal(again[1], order)
    assert min(shares) < 0.5 < max(shares)
    assert constant[3].unique().tolist() == [3]  # the input stays as it was
