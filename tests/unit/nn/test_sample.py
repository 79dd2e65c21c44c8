"""Resizing and sampling, against PyTorch."""

import itertools

import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, ShapeError
from tests.ops.oracle import agree, given, gradients_agree

F, T = tn.nn.functional, torch.nn.functional
MODES = {
    1: ("nearest", "nearest-exact", "linear", "area"),
    2: ("nearest", "nearest-exact", "bilinear", "bicubic", "area"),
    3: ("nearest", "nearest-exact", "trilinear"),
}
SHAPES = {1: (2, 3, 7), 2: (1, 2, 5, 4), 3: (1, 2, 3, 4, 2)}
SIZES = {1: [(3,), (7,), (16,), (1,)], 2: [(3, 6), (10, 4), (1, 1)], 3: [(2, 7, 3), (6, 8, 4)]}
WAYS = [
    (rank, mode, size)
    for rank in MODES
    for mode, size in itertools.product(MODES[rank], SIZES[rank])
]


def numbers(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("rank", "mode", "size"), WAYS)
def test_interpolate_to_a_size(rank, mode, size):
    x = numbers(SHAPES[rank])
    for aligned in (
        (True, False) if mode in ("linear", "bilinear", "trilinear", "bicubic") else (None,)
    ):
        options = {"size": size, "mode": mode, "align_corners": aligned}
        gradients_agree(
            lambda a, o=options: F.interpolate(a, **o),
            lambda a, o=options: T.interpolate(a, **o),
            [x],
        )


@pytest.mark.parametrize("factor", [2, 0.5, 1.7, (2.0, 0.6)])
@pytest.mark.parametrize("mode", MODES[2])
def test_interpolate_by_a_factor(mode, factor):
    x = numbers((2, 1, 6, 5))
    for again in (None, True):
        options = {"scale_factor": factor, "mode": mode, "recompute_scale_factor": again}
        agree(F.interpolate(given(x), **options), T.interpolate(x, **options), 1e-4)


def test_an_image_has_an_extent():
    with pytest.raises(ArgumentError, match="must be positive"):
        F.interpolate(tn.ones(1, 1, 4, 4), scale_factor=0.1)


def test_upsample():
    x = numbers((1, 2, 3, 4))
    layer = tn.nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    agree(
        layer(given(x)), torch.nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)(x)
    )
    assert repr(layer) == "Upsample(scale_factor=2.0, mode='bilinear')"


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_grid_sample(mode, padding, aligned):
    x, grid = numbers((2, 3, 4, 5)), numbers((2, 3, 6, 2), 1) * 1.3
    options = {"mode": mode, "padding_mode": padding, "align_corners": aligned}
    ours, theirs = (lambda a, g, f=f: f.grid_sample(a, g, **options) for f in (F, T))
    if mode == "bilinear":
        gradients_agree(ours, theirs, [x, grid])
        return
    # PyTorch gives the grid zeros, Tenor nothing: it is rounded.
    gradients_agree(lambda a: ours(a, given(grid)), lambda a: theirs(a, grid), [x])


def test_gumbel_softmax():
    tn.manual_seed(0)
    logits = tn.tensor([0.5, -1.0, 2.0], requires_grad=True)
    many = logits.expand(20000, 3)
    hard = F.gumbel_softmax(many, tau=0.7, hard=True)
    agree(hard.sum(1).detach(), torch.ones(20000), 1e-6)
    shares = hard.mean(0).detach().numpy()
    assert abs(shares - logits.softmax(0).detach().numpy()).max() < 0.015
    (hard * tn.tensor([1.0, 2.0, 3.0])).mean().backward()
    assert logits.grad.abs().sum().item() > 0
    soft = F.gumbel_softmax(many, dim=0)
    agree(soft.sum(0).detach(), torch.ones(3), 1e-4)


def test_mistakes_are_named():
    x = tn.ones(1, 1, 4, 4)
    with pytest.raises(ArgumentError, match="either size or scale_factor"):
        F.interpolate(x)
    with pytest.raises(ArgumentError, match="fit 2 spatial dims"):
        F.interpolate(x, size=2, mode="linear")
    with pytest.raises(ArgumentError, match="align_corners"):
        F.interpolate(x, size=2, align_corners=True)
    with pytest.raises(ArgumentError, match="one for each of the 2"):
        F.interpolate(x, size=(1, 2, 3))
    with pytest.raises(ShapeError, match="expects"):
        F.interpolate(tn.ones(4, 4), size=2)
    with pytest.raises(ShapeError, match="a grid"):
        F.grid_sample(x, tn.ones(2, 2, 2, 2))
    with pytest.raises(ArgumentError, match="grid_sample"):
        F.grid_sample(x, tn.ones(1, 2, 2, 2), mode="bicubic")
