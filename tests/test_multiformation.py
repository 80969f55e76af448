"""Multi-formation: the order of tiles, decoding as the inverse of tiling, and the sets that are read back."""

from __future__ import annotations

import helpers
import pytest
import torch
from torch.nn.functional import avg_pool2d

import ncfm
from ncfm.core.errors import DataError
from ncfm.core.seeding import generator
from ncfm.core.store import save_tensors
from ncfm.datasets.split import load_split
from ncfm.method.distilled import write_set
from ncfm.method.multiformation import decode, tile


def blocks(count: int, factor: int, size: int = 8) -> torch.Tensor:
    """Stored images of constant tiles: image n's tile t, counted row by row, holds 100 n + t (channels add 0.5)."""
    values = 100.0 * torch.arange(count)[:, None] + torch.arange(factor**2)
    grid = values.view(count, 1, factor, factor) + torch.tensor([0.0, 0.5]).view(1, 2, 1, 1)
    return grid.repeat_interleave(size // factor, 2).repeat_interleave(size // factor, 3)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_decoding_orders_tile_by_tile_and_inverts_tiling(factor):
    stored = blocks(3, factor)
    decoded = decode(stored, factor)
    assert decoded.shape == (3 * factor**2, 2, 8, 8)
    expected = (100.0 * torch.arange(3)[None] + torch.arange(factor**2)[:, None]).flatten()
    assert torch.equal(decoded, expected.view(-1, 1, 1, 1) + torch.tensor([0.0, 0.5]).view(1, 2, 1, 1) + 0 * decoded)
    assert torch.equal(tile(decoded, factor), stored)
    assert torch.equal(tile(decoded, factor, "nearest"), stored)
    assert torch.equal(decode(tile(decoded, factor), factor), decoded)


def test_decoding_is_bilinear():
    stored = torch.arange(16.0).view(1, 1, 4, 4)
    row = torch.tensor([0.0, 0.25, 0.75, 1.0])  # between the centres of two pixels, held outside them
    assert torch.equal(decode(stored, 2)[0, 0], row + 4 * row[:, None])
    assert torch.equal(decode(stored, 2)[3, 0], 10 + row + 4 * row[:, None])


def test_shrinking_by_area_or_by_nearest_pixel():
    images = torch.rand(8, 3, 8, 8, generator=generator("images"))
    area, nearest = tile(images, 2), tile(images, 2, "nearest")
    assert area.shape == nearest.shape == (2, 3, 8, 8)
    for index, (rows, columns) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4)]):  # tile by tile, row by row
        box = (
            slice(2 * index, 2 * index + 2),
            (slice(None), slice(None), slice(rows, rows + 4), slice(columns, columns + 4)),
        )
        torch.testing.assert_close(area[box[1]], avg_pool2d(images[box[0]], 2))
        assert torch.equal(nearest[box[1]], images[box[0], :, ::2, ::2])


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_load_gives_normalised_images_with_their_labels(factor, tmp_path):
    split = load_split(helpers.write_dataset(tmp_path), "train")
    stored = torch.rand(3, 2, 3, 8, 8, generator=generator("stored")) * 0.2 + torch.arange(3).view(3, 1, 1, 1, 1) * 0.3
    write_set(tmp_path, stored, split, factor, {"ipc": 2, "method": "test"})
    data = ncfm.load(tmp_path / "distilled.safetensors")
    assert len(data) == 6 * factor**2
    assert torch.equal(data.stored, stored.flatten(0, 1))
    assert data.labels.bincount().tolist() == [2 * factor**2] * 3
    mean, std = torch.tensor([0.49, 0.48, 0.47]).view(3, 1, 1), torch.tensor([0.27, 0.26, 0.28]).view(3, 1, 1)
    for index in range(len(data)):
        image, label = data[index]
        assert isinstance(label, int)
        torch.testing.assert_close(image, (data.pixels[index] - mean) / std)
        assert 0.3 * label - 1e-6 <= data.pixels[index].min()
        assert data.pixels[index].max() <= 0.3 * label + 0.2 + 1e-6
    assert (data.label_names, data.dataset) == (["left", "right", "top"], "made")
    assert (data.classes, data.names) == (3, {"ipc": 2, "method": "test"})


def test_five_lines_train_a_network(tmp_path):
    split = load_split(helpers.write_dataset(tmp_path), "train")
    stored = torch.stack([tile(split.pixels(rows[:8]), 2) for rows in split.by_class])
    write_set(tmp_path, stored, split, 2, {})

    images = torch.utils.data.DataLoader(ncfm.load(tmp_path / "distilled.safetensors"), batch_size=5)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    optimiser = torch.optim.SGD(network.parameters(), 0.01)
    for batch, labels in [*images] * 40:
        torch.nn.functional.cross_entropy(network(batch), labels).backward()
        optimiser.step(), optimiser.zero_grad()

    test = load_split(tmp_path, "test")
    logits = network(test.normalisation(test.pixels(torch.arange(36))))
    assert (logits.argmax(1) == test.labels).float().mean() > 0.8


def test_load_refuses_other_files_in_one_line(tmp_path):
    save_tensors(tmp_path / "other.safetensors", {"images": torch.zeros(1)}, {})
    with pytest.raises(DataError, match=r"other.safetensors: is not a distilled set \(classes, .*labels") as caught:
        ncfm.load(tmp_path / "other.safetensors")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no such file"):
        ncfm.load(tmp_path / "missing.safetensors")
