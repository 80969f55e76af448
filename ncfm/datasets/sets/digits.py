"""The digits data set: scikit-learn's 1,797 handwritten digits, enlarged from 8 x 8 to 16 x 16."""

from __future__ import annotations

from pathlib import Path

from ncfm.datasets.catalogue import DatasetFacts, Loaded, exactly


def _embedded(facts: DatasetFacts, root: Path) -> Loaded:
    """Read the digits out of scikit-learn; ``root`` is not used.

    Pixels 0..16 are enlarged bilinearly by 2 (``align_corners=False``: weights of quarters, so the result is exact and
    the same on every machine), multiplied by 255/16 and rounded half to even. The package has no split of its own:
    within each class, in the package's order, every fifth image from the first on is a test image.
    """
    import sklearn.datasets
    import torch
    from torch.nn.functional import interpolate

    pixels, targets = map(torch.from_numpy, sklearn.datasets.load_digits(return_X_y=True))
    large = interpolate(pixels.float().view(-1, 1, 8, 8), scale_factor=2, mode="bilinear", align_corners=False)
    images = (large * 255 / 16).round().to(torch.uint8)
    labels = targets.long()
    test = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(facts.classes):
        test[(labels == label).nonzero().squeeze(1)[::5]] = True
    origin = {"package": "scikit-learn", "version": sklearn.__version__, "function": "load_digits"}
    return Loaded({"train": (images[~test], labels[~test]), "test": (images[test], labels[test])}, origin)


ENTRIES = (
    DatasetFacts(
        name="digits",
        resolution=16,
        # Set by the split above.
        sizes={
            "train": exactly(142, 145, 141, 146, 144, 145, 144, 143, 139, 144),
            "test": exactly(36, 37, 36, 37, 37, 37, 37, 36, 35, 36),
        },
        mean=(0.3054,),
        std=(0.3188,),
        sources={"embedded": _embedded},
        label_names=tuple("0123456789"),
        content={
            "train images": "1141664b06fe2fd60f1e38e988928f2c476a2060490b65eb3608f924d104e567",
            "train labels": "600fa26fdcad4b48f04e7584aa3960b6d069ddc6113ad67634062c24e1c656e6",
            "test images": "07c9afd9729d552fb909e6566dbd7ddfdd5add558c60a780e1cf74209d19457a",
            "test labels": "5fea45883593097780124053f6859f96021d7bca7ed0b2772924000cedaa5b55",
        },
        order=1,
    ),
)
