"""The classes of the ImageNet subsets in label order, as MTT (Cazenave et al. 2022) defines them: folder and name."""

from __future__ import annotations

import re

# The released program normalises Tiny ImageNet and the subsets with the statistics of ImageNet.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# What a card says where Imagenette or Imagewoof came from its public archive.
PUBLIC_SPLIT = "the public archive's: about 70 % of all images for training"

_FRUIT = """n07753275 pineapple, n07753592 banana, n07745940 strawberry, n07747607 orange, n07749582 lemon,
    n07768694 pomegranate, n07753113 fig, n07720875 bell pepper, n07718472 cucumber, n07742313 Granny Smith"""
_YELLOW = """n02206856 bee, n12057211 yellow lady's slipper, n07753592 banana, n07749582 lemon, n12144580 corn,
    n04146614 school bus, n03530642 honeycomb, n02129165 lion, n01773157 black and gold garden spider,
    n01531178 goldfinch"""
# The released program's lists differ from MTT's in one class of two subsets; those are subsets of their own here,
# because an accuracy on other classes is another number.
_LISTS = {
    "imagenette": """n01440764 tench, n02102040 English springer, n02979186 cassette player, n03000684 chain saw,
        n03028079 church, n03394916 French horn, n03417042 garbage truck, n03425413 gas pump, n03445777 golf ball,
        n03888257 parachute""",
    "imagewoof": """n02096294 Australian terrier, n02093754 Border terrier, n02111889 Samoyed, n02088364 beagle,
        n02086240 Shih-Tzu, n02089973 English foxhound, n02087394 Rhodesian ridgeback, n02115641 dingo,
        n02099601 golden retriever, n02105641 Old English sheepdog""",
    "imagefruit": _FRUIT,
    "imagefruit-released": _FRUIT.replace("n07742313 Granny Smith", "n07760859 custard apple"),
    "imagemeow": """n02123045 tabby, n02123159 tiger cat, n02123394 Persian cat, n02123597 Siamese cat,
        n02124075 Egyptian cat, n02129165 lion, n02129604 tiger, n02128925 jaguar, n02128757 snow leopard,
        n02127052 lynx""",
    "imagesquawk": """n01806143 peacock, n02007558 flamingo, n01818515 macaw, n02051845 pelican, n02056570 king penguin,
        n01614925 bald eagle, n01843383 toucan, n01518878 ostrich, n01860187 black swan,
        n01819313 sulphur-crested cockatoo""",
    "imageyellow": _YELLOW,
    "imageyellow-released": _YELLOW.replace("n01773157 black and gold garden spider", "n01773797 garden spider"),
}
IMAGENET_CLASSES = {subset: tuple(re.findall(r"(n\d{8}) ([^,]+)", text)) for subset, text in _LISTS.items()}
