"""MNIST and Fashion-MNIST, enlarged by a black border from 28 x 28 to 32 x 32."""

from __future__ import annotations

from dataclasses import replace

from ncfm.datasets.catalogue import DatasetFacts, each, exactly
from ncfm.datasets.torchvision_sets import MNIST, sources_of

DIGITS = DatasetFacts(
    name="mnist",
    resolution=32,
    sizes={
        "train": exactly(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        "test": exactly(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    },
    # The field's statistics, of the 28 x 28 images before the border (`_padded` in torchvision_sets.py).
    mean=(0.1307,),
    std=(0.3081,),
    sources=sources_of("MNIST", MNIST),
    label_names=tuple("0123456789"),
    content={
        "train images": "ab16d31f948ea979f9956c81cc272c4d4310d71dc3a8f88ed6dcc58facb7ccad",
        "train labels": "7933ffcb1c816972772157b882db6bd5c2dd75fb14571e7758d6eb46b46c969e",
        "test images": "c1ff7c5038bdfbc141a285ac19a3eb359fcfb18bec480b6c6f04ee17c0285afa",
        "test labels": "b07c6e53c0b79973a4929c97007c40037802430f124f7a774c5e16a381be988e",
    },
    order=4,
)
GARMENTS = "T-shirt/top, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot"
FASHION = replace(
    DIGITS,
    name="fashion-mnist",
    sizes=each(10, 6000, 1000),
    mean=(0.2861,),
    std=(0.3530,),
    sources=sources_of("FashionMNIST", MNIST),
    label_names=tuple(GARMENTS.split(", ")),
    content={},
    order=5,
)
ENTRIES = (DIGITS, FASHION)
