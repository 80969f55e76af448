"""SVHN, the cropped digits."""

from __future__ import annotations

from ncfm.datasets.catalogue import DatasetFacts, exactly
from ncfm.datasets.torchvision_sets import Family, sources_of

FAMILY = Family(
    files=lambda kind: {name: md5 for _, name, md5 in (kind.split_list[split] for split in ("train", "test"))},
    download=lambda kind: {"url": kind.split_list["train"][0].rsplit("/", 1)[0]},
    labels="labels",
    split=lambda split: {"split": split},
)

ENTRIES = (
    DatasetFacts(
        name="svhn",
        resolution=32,
        sizes={
            "train": exactly(4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
            "test": exactly(1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595),
        },
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        sources=sources_of("SVHN", FAMILY),
        label_names=tuple("0123456789"),
        order=6,
    ),
)
