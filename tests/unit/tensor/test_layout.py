"""Strides worked out from views, against PyTorch's, and NumPy's rule for reshapes."""

import random

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.tensor.layout import contiguous, restrided, strides_of


@pytest.mark.parametrize(
    ("shape", "want"), [((2, 3, 4), (12, 4, 1)), ((), ()), ((5,), (1,)), ((2, 0, 3), (3, 3, 1))]
)
def test_contiguous(shape, want):
    assert contiguous(shape) == want
    assert torch.empty(shape).stride() == want


@pytest.mark.parametrize(
    ("shape", "strides", "new", "want"),
    [
        ((2, 3), (3, 1), (6,), (1,)),
        ((2, 3), (3, 1), (3, 2), (2, 1)),
        ((2, 3), (1, 2), (6,), None),
        ((2, 3), (6, 2), (6,), (2,)),
        ((2, 3), (6, 1), (6,), None),
        ((4, 1), (5, 99), (2, 2), (10, 5)),
        ((3, 4), (0, 1), (3, 2, 2), (0, 2, 1)),
        ((3, 4), (0, 1), (12,), None),
        ((1,), (1,), (), ()),
        ((6,), (-1,), (2, 3), (-3, -1)),
        ((2, 1, 3), (3, 3, 1), (6, 1), (1, 1)),
    ],
)
def test_restrided(shape, strides, new, want):
    got = restrided(shape, strides, new)
    if want is None:
        assert got is None
    else:
        apart = [i for i, n in enumerate(new) if n > 1]
        assert [got[i] for i in apart] == [want[i] for i in apart]


STEPS = {
    "transpose": lambda x, r: x.transpose(0, -1),
    "slice": lambda x, r: (
        x[r.choice((slice(None, None, 2), slice(1, None), slice(0, 1)))] if x.ndim else x
    ),
    "last": lambda x, r: x[..., 1:] if x.ndim and x.shape[-1] > 1 else x,
    "unsqueeze": lambda x, r: x.unsqueeze(r.randint(0, x.ndim)),
    "squeeze": lambda x, r: x.squeeze(),
    "select": lambda x, r: x.select(0, 0) if x.ndim > 1 and x.shape[0] else x,
    "expand": lambda x, r: x.unsqueeze(0).expand(2, *x.shape),
    "permute": lambda x, r: x.permute(*r.sample(range(x.ndim), x.ndim)),
    "flatten": lambda x, r: x.view(-1) if x.is_contiguous() else x,
    "unfold": lambda x, r: x.unfold(-1, 2, 1) if x.ndim and x.shape[-1] > 1 else x,
}


@pytest.mark.parametrize("seed", range(80))
def test_strides_of_random_views_are_pytorchs(seed):
    draw = random.Random(seed)
    shape = tuple(draw.choice((2, 3, 4)) for _ in range(draw.randint(1, 3)))
    theirs = torch.zeros(shape)
    ours = tn.zeros(shape).clone()
    done = []
    for _ in range(6):
        step = draw.choice(tuple(STEPS))
        state = draw.getstate()
        theirs = STEPS[step](theirs, draw)
        draw.setstate(state)
        ours = STEPS[step](ours, draw)
        done.append(step)
        assert tuple(ours.shape) == tuple(theirs.shape), done
        wide = [d for d in range(theirs.ndim) if theirs.shape[d] > 1]
        assert [ours.stride(d) for d in wide] == [theirs.stride(d) for d in wide], done
        assert ours.is_contiguous() == theirs.is_contiguous(), done
        for new in ((theirs.numel(),), (1, -1), (-1, 2), (2, -1)):
            try:
                theirs.view(new)
                possible = True
            except RuntimeError:
                possible = False
            try:
                ours.view(new)
                found = True
            except tn.errors.ShapeError:
                found = False
            assert found == possible, (done, new)


def test_a_reshape_that_copies_has_no_strides_of_the_base():
    x = tn.arange(6).reshape(2, 3).clone()
    y = x.T.reshape(6)
    assert y.base is None
    assert strides_of(y) == (1,)
    assert np.array_equal(y.numpy(), [0, 3, 1, 4, 2, 5])
