"""Fashion-MNIST, enlarged by a black border from 28 x 28 to 32 x 32."""

from __future__ import annotations

from ncfm.datasets.catalogue import DatasetFacts, each
from ncfm.datasets.torchvision_sets import MNIST, sources_of

ENTRIES = (
    DatasetFacts(
        name="fashion-mnist",
        classes=10,
        channels=1,
        resolution=32,
        sizes=each(10, 6000, 1000),
        # The field's statistics, of the 28 x 28 images before the border (`_padded` in torchvision_sets.py).
        mean=(0.2861,),
        std=(0.3530,),
        sources=sources_of("FashionMNIST", MNIST),
        label_names=(
            "T-shirt/top",
            "trouser",
            "pullover",
            "dress",
            "coat",
            "sandal",
            "shirt",
            "sneaker",
            "bag",
            "ankle boot",
        ),
        order=5,
    ),
)
