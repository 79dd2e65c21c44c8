"""The tree of errors: what catches PyTorch's error catches Tenor's."""

import pytest
import torch

import tenor as tn
from tenor.errors import TenorError

MISTAKES = {
    "shapes that do not broadcast": lambda m: m.ones(2, 3) + m.ones(4),
    "a product that does not fit": lambda m: m.ones(2, 3) @ m.ones(2, 3),
    "tensors that do not join": lambda m: m.cat([m.ones(2, 2), m.ones(3, 3)]),
    "a shape of other elements": lambda m: m.ones(6).view(4),
    "stacking other shapes": lambda m: m.stack([m.ones(2), m.ones(3)]),
    "a negative extent": lambda m: m.zeros(-1),
    "products of two dtypes": lambda m: m.ones(2, 2) @ m.ones(2, 2).double(),
    "the mean of integers": lambda m: m.arange(3).mean(),
    "floats into integers": lambda m: m.arange(3).add_(1.5),
    "minus of bools": lambda m: m.tensor([True]) - m.tensor([True]),
    "a dim out of range": lambda m: m.ones(2).sum(1),
    "an index out of range": lambda m: m.ones(2)[2],
    "a row out of range": lambda m: m.ones(2).index_select(0, m.tensor([2])).tolist(),
    "several items": lambda m: m.ones(2).item(),
    "several truths": lambda m: bool(m.ones(2)),
    "no parts": lambda m: m.ones(2).chunk(0),
    "no bounds": lambda m: m.ones(2).clamp(),
    "a list for a tensor": lambda m: m.exp([1.0]),
    "a string for a number": lambda m: m.full((2,), "a"),
    "ragged rows": lambda m: m.tensor([[1, 2], [3]]),
    "no gradient": lambda m: m.ones(2).sum().backward(),
    "a gradient of several": lambda m: m.ones(2, requires_grad=True).exp().backward(),
    "a leaf in place": lambda m: m.ones(2, requires_grad=True).add_(1),
    "a number too large": lambda m: m.tensor(2**63),
    "a byte too large": lambda m: m.zeros(2, dtype=m.uint8).fill_(300),
    "a diagonal of three dims": lambda m: m.diag(m.ones(2, 2, 2)),
    "a class out of range": lambda m: m.nn.functional.nll_loss(m.zeros(1, 3), m.tensor([3])).item(),
    "an equation of other extents": lambda m: m.einsum("ij,jk", m.ones(2, 3), m.ones(4, 2)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_catches_pytorchs_error_catches_ours(mistake):
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - whichever PyTorch raises
        MISTAKES[mistake](torch)
    with pytest.raises(theirs.type) as ours:
        MISTAKES[mistake](tn)
    assert isinstance(ours.value, TenorError)
    assert ours.value.came
    assert ours.value.fix
    assert ours.value.where[0] == __file__
