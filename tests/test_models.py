"""Architectures: one contract for all of them with every normalisation they take, their weights, and their sizes."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

from ncfm.core.errors import ParamsError
from ncfm.core.seeding import generator
from ncfm.models.base import HalvingPool, build_module, scaled
from ncfm.models.registry import ARCHITECTURES, build, norm_of

CELLS = [(arch, norm) for arch, facts in ARCHITECTURES.items() for norm in facts.norms]


def network(arch="convnet-3", name="weights", **changes):
    shape = {"channels": 3, "resolution": ARCHITECTURES[arch].smallest, "classes": 5, "width": 4, "norm": "default"}
    return build(arch, **{**shape, **changes}, generator=generator(name))


def parameters(built):
    return sum(parameter.numel() for parameter in built.parameters())


@pytest.mark.parametrize(("arch", "norm"), CELLS)
@pytest.mark.parametrize("times", [1, 2])
def test_contract_of_every_architecture(arch, norm, times):
    resolution = ARCHITECTURES[arch].smallest * times
    built = network(arch, norm=norm, resolution=resolution, channels=times)
    images = torch.randn(4, times, resolution, resolution, generator=generator("images"))
    state = torch.random.get_rng_state()
    built.train()(images).square().sum().backward()
    assert torch.equal(torch.random.get_rng_state(), state)  # no dropout draws from the global generator
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        # A shift before a normalisation is taken out again by it.
        assert name.endswith("bias") or parameter.grad.any(), name
    features = built.eval().features(images)
    assert features.shape == (4, built.feature_dimension)
    assert built(images).shape == (4, 5)
    torch.testing.assert_close(built(images), built.head(features))
    assert features.std(0).min() > 0 or (features != features[0]).any()  # the images reach the features
    # An image's features depend on no other image of the batch: the discrepancies rest on that.
    torch.testing.assert_close(built.features(images[:1]), features[:1], atol=1e-5, rtol=1e-4)


# DenseNet is slow, and has no kind of layer that the others have not.
@pytest.mark.parametrize(("arch", "norm"), [(a, n) for a, n in CELLS if n in ("batch", "layer") and "dense" not in a])
def test_side_by_side_training_changes_the_buffers_that_testing_uses(arch, norm):
    """Networks trained through one compiled forward pass lend it their state: running statistics must come back."""
    direct, lending = network(arch, norm=norm).train(), network(arch, norm=norm)
    structure = network(arch, norm=norm, name="structure").train()
    images = 3 + torch.randn(4, 3, *2 * [ARCHITECTURES[arch].smallest], generator=generator("images"))
    before = direct.eval()(images)
    assert torch.equal(direct.train()(images), functional_call(structure, lending.state_dict(keep_vars=True), images))
    for name, buffer in direct.named_buffers():
        assert torch.equal(buffer, lending.get_buffer(name)), name
    assert torch.equal(direct.eval()(images), lending.eval()(images))
    assert torch.equal(direct(images), before) == (norm != "batch")


@pytest.mark.parametrize(("arch", "norm"), CELLS)
def test_weights_come_from_the_generator_alone(arch, norm, monkeypatch):
    state = torch.random.get_rng_state()
    first, other = network(arch, norm=norm), network(arch, norm=norm, name="other")
    to_empty = torch.nn.Module.to_empty

    def poisoned(module, **where):
        module = to_empty(module, **where)
        for value in module.state_dict().values():
            value.fill_(torch.nan if value.is_floating_point() else -7)
        return module

    monkeypatch.setattr(torch.nn.Module, "to_empty", poisoned)
    again = network(arch, norm=norm)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert set(dict(first.named_buffers())) <= set(first.state_dict())
    for name, value in first.state_dict().items():
        assert torch.isfinite(value).all(), name
        assert torch.equal(value, again.state_dict()[name]), name
    assert not torch.equal(first.head.weight, other.head.weight)
    bound = first.feature_dimension**-0.5
    assert 0.8 * bound < first.head.weight.abs().max() <= bound


def test_a_buffer_that_no_rule_fills_is_refused():
    with pytest.raises(TypeError, match="no rule fills the buffers of InstanceNorm2d"):
        build_module(lambda: torch.nn.InstanceNorm2d(4, track_running_stats=True), generator())


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_resolution_too_small_or_not_a_multiple(arch):
    smallest, multiple = ARCHITECTURES[arch].smallest, ARCHITECTURES[arch].multiple
    for resolution in (smallest - multiple, smallest + 1):
        with pytest.raises(
            ParamsError, match=rf"^{arch} .* resolution {resolution} \(allowed: multiples of {multiple}"
        ):
            network(arch, resolution=resolution)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_norms_that_an_architecture_cannot_take(arch):
    norms = ARCHITECTURES[arch].norms
    assert norm_of(arch, "default", 4) == norms[0]
    for norm in {"instance", "batch", "group", "layer", "none"} - set(norms):
        with pytest.raises(ParamsError, match=rf"^norm: is '{norm}', which {arch} cannot take \(allowed: default, "):
            network(arch, norm=norm)


def test_group_normalisation_needs_four_equal_groups():
    with pytest.raises(ParamsError, match=r"^norm: is 'group', .* width is 6 \(allowed: multiples of 4\)"):
        network(norm="group", width=6)


def test_unknown_architecture():
    with pytest.raises(ParamsError, match="unknown architecture 'convnet-33'; did you mean 'convnet-3'"):
        build("convnet-33", channels=3, resolution=8, classes=2, width=4, norm="none", generator=generator())


@pytest.mark.parametrize(("norm", "groups"), [("instance", 8), ("group", 4), ("layer", 1)])
def test_normalisations_within_an_image_differ_in_their_groups(norm, groups):
    layer = network("convnet-3", norm=norm, width=8).blocks[1]
    maps = torch.randn(3, 8, 4, 4, generator=generator("maps")) * torch.arange(1, 9).view(8, 1, 1) + 2
    values = maps.reshape(3, groups, -1)
    mean, variance = values.mean(2, keepdim=True), values.var(2, keepdim=True, correction=0)
    torch.testing.assert_close(layer(maps), ((values - mean) / (variance + 1e-5).sqrt()).view(maps.shape))
    assert [parameter.shape for parameter in layer.parameters()] == [(8,), (8,)]


@pytest.mark.parametrize(
    ("arch", "norm", "count"),
    [
        # DC (arXiv 2006.05929): the layer lists of its networks, which print no counts; convolutions + norms + head.
        ("convnet-3", "instance", 3_584 + 2 * 147_584 + 3 * 256 + 20_490),  # 320,010, as the field quotes it
        ("alexnet", "none", 9_728 + 614_592 + 442_624 + 442_560 + 331_968 + 30_730),  # 1,872,202
        # The CIFAR networks of github.com/kuangliu/pytorch-cifar, which DC's are made from: 9.2 and 11.2 million.
        ("vgg-11", "batch", 9_231_114),
        ("resnet-18", "batch", 11_173_962),
        ("resnet-18", "instance", 11_173_962),  # as many: a scale and a shift per channel
        ("densenet-121", "batch", 6_956_298),  # pytorch-cifar's, 7.0 million
        # torchvision's model cards count 5,288,548 with 1000 classes, of which the head has 1,281,000.
        ("efficientnet-b0", "batch", 5_288_548 - 1_281_000 + 12_810),
    ],
)
def test_sizes_are_the_published_ones(arch, norm, count):
    assert parameters(network(arch, norm=norm, resolution=32, width=128, classes=10)) == count


def test_size_of_vit_tiny():
    # DeiT-Ti, as timm counts it: 5,717,416 at 224 pixels in patches of 16 with 1000 classes ("5.7M", arXiv 2012.12877).
    assert parameters(network("vit-tiny", resolution=224, width=128, classes=1000)) == 5_717_416


def test_resnet_ap_10_has_the_sizes_of_idc():
    # IDC (arXiv 2205.14959): 32 to 256 channels for CIFAR's images, 64 to 512 for larger ones; 4 x 4 maps either way.
    small, large = (network("resnet-ap-10", resolution=resolution, width=128) for resolution in (32, 128))
    assert (small.feature_dimension, large.feature_dimension) == (256, 512)
    assert not any(getattr(layer, "stride", (1, 1)) != (1, 1) for layer in small.modules())
    for built, resolution, last in ((small, 32, 4), (large, 128, 8)):
        assert built.blocks(torch.zeros(1, 3, resolution, resolution)).shape[-1] == last


@pytest.mark.parametrize(("resolution", "last"), [(16, 2), (32, 2), (64, 2), (128, 4)])
def test_strides_of_efficientnet_leave_two_by_two(resolution, last):
    built = network("efficientnet-b0", resolution=resolution).eval()
    assert built.blocks(torch.zeros(1, 3, resolution, resolution)).shape[-2:] == (last, last)


@pytest.mark.parametrize(("resolution", "tokens"), [(16, 64), (32, 64), (64, 64), (128, 64), (224, 196)])
def test_patches_of_vit_tiny(resolution, tokens):
    assert network("vit-tiny", resolution=resolution).blocks.encoder.pos_embedding.shape == (1, tokens + 1, 12)


def test_features_of_the_papers_networks():
    for arch, resolution in (("convnet-3", 32), ("convnet-4", 64), ("convnet-5", 128)):
        assert network(arch, resolution=resolution, width=128).feature_dimension == 2048


def test_scaling_keeps_published_channels_and_whole_groups():
    assert [scaled(channels, 128) for channels in (64, 192, 256)] == [64, 192, 256]
    assert [scaled(64, width) for width in (1, 8, 32, 96, 256)] == [4, 4, 16, 48, 128]


def test_pooling_is_the_mean_of_two_by_two():
    images = torch.randn(2, 3, 8, 8, generator=generator("images"), dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(HalvingPool()(images), torch.nn.functional.avg_pool2d(images, 2))
    assert torch.autograd.gradcheck(HalvingPool(), images, fast_mode=True)
