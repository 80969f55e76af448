"""What the tests of the stages share: the CPU, and a made data set with a pool and a coreset, once for each file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import helpers
import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _on_the_processor() -> Iterator[None]:
    """One thread for each process: the workers share the cores, where more would mostly wait for each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NCFM_DEVICE", "cpu")
        patch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return helpers.write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def pool(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return helpers.run_pretrain(data, tmp_path_factory.mktemp("pool") / "pool.safetensors")


@pytest.fixture(scope="module")
def coreset(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four real images per class."""
    return helpers.run_select(data, tmp_path_factory.mktemp("coreset"), ipc=4)
