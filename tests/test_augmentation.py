"""Siamese augmentation and CutMix: one draw means one thing for all images, and each step does what its name says."""

from __future__ import annotations

import math

import pytest
import torch

from ncfm.core.seeding import generator
from ncfm.core.values import AUGMENTATIONS
from ncfm.method.augmentation import Draw, apply, cutmix, draw, draw_each

SIZE = 8
STRATEGIES = [
    *AUGMENTATIONS,
    "_".join(AUGMENTATIONS),
    "color_crop|cutout",
    "color_crop_cutout",
    "color_crop_flip_scale_rotate",
    "",
    "|".join(AUGMENTATIONS),
]


def images(count: int = 6, channels: int = 3, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(count, channels, SIZE, SIZE, generator=generator("images"), dtype=dtype)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("draw", [draw, draw_each])
class TestContract:
    """What holds for every part of a strategy, alone and together; six seeds reach each of crop, scale and rotate."""

    def test_one_draw_is_the_same_for_both_sides(self, strategy, seed, draw):
        drawn = draw(strategy, 1, SIZE, generator(seed))
        real, synthetic = images()[:4], images()[4:]
        together = apply(torch.cat([real, synthetic]), drawn)
        torch.testing.assert_close(together, torch.cat([apply(real, drawn), apply(synthetic, drawn)]))
        shared = drawn.for_images(torch.zeros(6, dtype=torch.long))
        torch.testing.assert_close(apply(images(), shared), together)

    def test_draws_per_image_equal_single_draws(self, strategy, seed, draw):
        drawn = draw(strategy, 6, SIZE, generator(seed))
        single = [apply(images()[i : i + 1], drawn.for_images(torch.tensor([i]))) for i in range(6)]
        torch.testing.assert_close(apply(images(), drawn), torch.cat(single))

    def test_same_seed_same_draw_and_shape(self, strategy, seed, draw):
        first, again = (apply(images(), draw(strategy, 6, SIZE, generator(seed))) for _ in range(2))
        assert torch.equal(first, again)
        assert first.shape == images().shape
        assert torch.isfinite(first).all()

    def test_differentiable(self, strategy, seed, draw):
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


def parts_of(drawn: Draw, row: int) -> set[str]:
    """Return the parts of a strategy that a row of a draw has an effect by."""
    one = {name: value[row] for name, value in drawn.drawn.items()}
    found = {"color"} if one.get("contrast", torch.ones(1)) != 1 else set()
    found |= {"crop"} if one.get("shift", torch.zeros(2)).any() else set()
    found |= {"cutout"} if (one.get("corner", torch.full((2,), SIZE)) < SIZE).all() else set()
    found |= {"flip"} if one.get("flip", torch.tensor(False)) else set()
    matrix = one.get("matrix", torch.eye(2, 3))
    if matrix[0, 1]:
        return found | {"rotate"}
    return found | ({"scale"} if matrix[0, 0] != 1 else set())


@pytest.mark.parametrize("draw", [draw, draw_each])
def test_one_of_all_parts_is_drawn(draw):
    """For the batch by ``draw``, for each row by ``draw_each``."""
    seen, mixed = [], 0
    for seed in range(80):
        drawn = draw("|".join(AUGMENTATIONS), 3, SIZE, generator(seed))
        parts = [parts_of(drawn, row) for row in range(3)]
        assert max(map(len, parts)) <= 1  # none, where a crop moves by nothing and a flip does not turn
        mixed += len({part for one in parts for part in one}) > 1
        seen += [part for one in parts for part in one]
    assert set(seen) == set(AUGMENTATIONS)
    assert (mixed > 0) == (draw is draw_each)


def test_one_of_crop_scale_rotate_is_drawn():
    drawn = [draw("color_crop_flip_scale_rotate", 3, SIZE, generator(seed)) for seed in range(40)]
    assert {(one.shift is None, one.matrix is None) for one in drawn} == {(False, True), (True, False)}
    for one in drawn:
        assert one.brightness is not None
        assert one.flip is not None
        assert one.corner is None


def test_each_row_draws_its_own_of_crop_scale_and_rotate():
    drawn = draw_each("color_crop_flip_scale_rotate", 3000, SIZE, generator(0))
    geometries = [parts_of(drawn, row) & {"crop", "scale", "rotate"} for row in range(3000)]
    assert max(map(len, geometries)) == 1
    for part, share in (("scale", 1 / 3), ("rotate", 1 / 3), ("crop", 8 / 27)):  # one crop in nine moves nothing
        assert sum(part in one for one in geometries) / 3000 == pytest.approx(share, abs=0.04)
    assert drawn.contrast.unique().numel() > 2900  # every row has its colours


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
    assert torch.equal(apply(images(), Draw(shift=shift)), expected)
    assert torch.equal(apply(images(), Draw(shift=shift.expand(6, -1))), expected)
    mixed = apply(images(2), Draw(shift=torch.tensor([[1, -2], [0, 0]])))
    assert torch.equal(mixed, torch.stack([expected[0], images()[1]]))


@pytest.mark.parametrize(("corner", "rows", "columns"), [((2, 3), (2, 6), (3, 7)), ((-2, 6), (0, 2), (6, 8))])
def test_cutout_zeroes_a_box_of_half_the_side(corner, rows, columns):
    expected = images().clone()
    expected[:, :, rows[0] : rows[1], columns[0] : columns[1]] = 0
    assert torch.equal(apply(images(), Draw(corner=torch.tensor([corner]))), expected)


def test_colour_steps():
    def one(value: float) -> torch.Tensor:
        return torch.full((1, 1, 1, 1), value)

    x = images()
    torch.testing.assert_close(apply(x, Draw(brightness=one(0.3))), x + 0.3)
    grey = apply(x, Draw(saturation=one(0.0)))
    torch.testing.assert_close(grey, x.mean(1, keepdim=True).expand_as(x))
    torch.testing.assert_close(apply(x, Draw(saturation=one(1.0))), x)
    flat = apply(x, Draw(contrast=one(0.0)))
    torch.testing.assert_close(flat, x.mean((1, 2, 3), keepdim=True).expand_as(x))
    strong = apply(x, Draw(contrast=one(1.5)))
    torch.testing.assert_close(strong.std((1, 2, 3)), 1.5 * x.std((1, 2, 3)))
    # Saturation comes before contrast: at zero contrast nothing of it is left, and brightness stays.
    both = apply(x, Draw(brightness=one(0.3), saturation=one(2.0), contrast=one(0.0)))
    torch.testing.assert_close(both, flat + 0.3)


def test_grey_images_have_no_saturation():
    grey = images(channels=1)
    assert torch.equal(apply(grey, Draw(saturation=torch.full((1, 1, 1, 1), 1.7))), grey)
    as_colour = grey.expand(-1, 3, -1, -1)
    torch.testing.assert_close(apply(as_colour, Draw(saturation=torch.full((1, 1, 1, 1), 1.7))), as_colour)


def test_flip_is_horizontal_and_per_image():
    flipped = apply(images(2), Draw(flip=torch.tensor([True, False])))
    assert torch.equal(flipped, torch.stack([images()[0].flip(-1), images()[1]]))


def test_geometry_without_effect_is_the_identity():
    matrix = torch.eye(2, 3)[None]
    torch.testing.assert_close(apply(images(), Draw(matrix=matrix)), images())
    turned = apply(images(), Draw(matrix=torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])))
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
