"""CIFAR-100, with its 100 fine classes."""

from __future__ import annotations

from ncfm.datasets.catalogue import DatasetFacts, each
from ncfm.datasets.sets.cifar10 import MEAN, STD
from ncfm.datasets.torchvision_sets import CIFAR, sources_of

NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

ENTRIES = (
    DatasetFacts(
        name="cifar100",
        resolution=32,
        sizes=each(100, 500, 100),
        # The statistics that the released program normalises with: CIFAR-10's, also here. CIFAR-100's own are
        # .5071/.4866/.4409 and .2673/.2564/.2762; kept because every reported number rests on these.
        mean=MEAN,
        std=STD,
        sources=sources_of("CIFAR100", CIFAR),
        label_names=tuple(NAMES.split()),
        order=3,
    ),
)
