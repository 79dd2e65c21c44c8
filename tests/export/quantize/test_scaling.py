"""Scales: 0 is held exactly, whatever the range; weights are symmetric for each channel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tenor as tn
from tenor import nn
from tenor.errors import ArgumentError
from tenor.export.fold import folded
from tenor.export.quantize.scaling import held_weights, range_scheme, weight_scheme
from tenor.export.source import opened, source_of

FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(FLOATS, FLOATS)
@settings(max_examples=300, deadline=None)
def test_a_range_holds_0_and_its_ends(a, b):
    low, high = min(a, b), max(a, b)
    scheme = range_scheme(low, high)
    scale, zero = float(scheme.scale), int(scheme.zero_point)
    assert scheme.scale.dtype == np.float32
    assert scheme.zero_point.dtype == np.int32
    assert 0 < scale < np.inf
    assert -128 <= zero <= 127
    zeros = np.zeros(1, np.float32)
    assert scheme.real(scheme.stored(zeros))[0] == 0.0
    if max(abs(low), abs(high)) > 1e-30:
        ends = np.array([low, high], np.float32)
        with np.errstate(over="ignore"):
            back = scheme.real(scheme.stored(ends)).astype(np.float64)
        assert np.all(np.abs(back - ends) <= 1.01 * scale)


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero"),
    [(0, 255, 1, -128), (-128, 127, 1, 0), (-255, 0, 1, 127), (-1, 1, 2 / 255, 0),
     (0, 0, 1, 0), (2, 5.1, 0.02, -128), (-5.1, -2, 0.02, 127)],
)  # fmt: skip
def test_known_ranges(low, high, scale, zero):
    made = range_scheme(low, high)
    assert float(made.scale) == np.float32(scale)
    assert int(made.zero_point) == zero


@pytest.mark.parametrize("axis", [0, 1, 3, None])
def test_weights_are_symmetric_for_each_channel(axis):
    weight = np.random.default_rng(0).standard_normal((4, 3, 2, 5)).astype(np.float32)
    made = weight_scheme("w", weight, axis)
    dims = tuple(d for d in range(4) if d != axis)
    np.testing.assert_allclose(made.scale, np.abs(weight).max(dims) / 127, rtol=1e-6)
    stored = made.stored(weight)
    assert stored.min() >= -127
    assert set(np.abs(stored).max(dims).ravel()) == {127}
    assert not made.zero_point.any()
    step = made.scale.reshape([-1 if d == axis else 1 for d in range(4)])
    assert np.all(np.abs(made.real(stored) - weight) <= step * 0.5001)


def test_a_channel_of_zeros_has_a_scale():
    weight = np.zeros((3, 4), np.float32)
    weight[1], weight[2, 0] = 1e-45, 3e38
    made = weight_scheme("w", weight, 0)
    assert made.scale[0] == 1.0
    assert np.all(made.scale > 0)
    assert np.all(np.isfinite(made.real(made.stored(weight))))


@pytest.mark.parametrize("most", [127, 100, 40])
def test_weights_on_a_grid_stay_as_they_are(most):
    steps = np.random.default_rng(1).integers(-most, most + 1, (6, 50))
    steps[:, 0] = most
    weight = (steps * np.linspace(0.001, 0.7, 6)[:, None]).astype(np.float32)
    made = weight_scheme("w", weight, 0)
    if most > 127 / 2:  # else a grid twice as fine does as well
        np.testing.assert_array_equal(made.stored(weight), steps)
    np.testing.assert_allclose(made.real(made.stored(weight)), weight, rtol=1e-6)


@pytest.mark.parametrize("bits", [2, 4, 7])
def test_fewer_bits(bits):
    weight = np.random.default_rng(2).standard_normal((5, 64)).astype(np.float32)
    stored = weight_scheme("w", weight, 0, bits).stored(weight)
    assert np.abs(stored).max() == 2 ** (bits - 1) - 1


def test_a_weight_that_is_not_finite_is_refused_by_name():
    with pytest.raises(ArgumentError, match=r"features\.0\.weight"):
        weight_scheme("features.0.weight", np.array([1.0, np.nan], np.float32), 0)


# -- along which dim ------------------------------------------------------------------------------
class Tied(nn.Module):
    """A table whose rows are taken, and which is a product's operand."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(6, 4)

    def forward(self, x):
        return self.words(x) @ self.words.weight.T


class Left(nn.Module):
    """A weight that stands on the left of a product, and one read by something else as well."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(tn.randn(5, 4)), nn.Parameter(tn.randn(3, 2))

    def forward(self, x):
        return (self.a @ x.T).T[:, :3] @ self.b + self.b.sum()


def held(model, *inputs):
    source = folded(source_of(opened(model, inputs if len(inputs) > 1 else inputs[0]), batch=3))
    names = {leaf: name for name, leaf in source.leaves.items()}
    return {names[h.leaf]: (h.axis, h.looked_up) for h in held_weights(source)}


def turned(model, *inputs):
    """Return the same of a source that is not folded, whose weights are moved about."""
    source = source_of(opened(model, inputs if len(inputs) > 1 else inputs[0]), batch=3)
    names = {leaf: name for name, leaf in source.leaves.items()}
    return {names[h.leaf]: (h.axis, h.looked_up) for h in held_weights(source)}


def test_which_dim_is_a_weights_output():
    images = tn.randn(3, 4, 6, 6)
    assert held(nn.Conv2d(4, 6, 3, groups=2), images) == {"weight": (0, False)}
    assert held(nn.ConvTranspose2d(4, 6, 3), images) == {"weight": (1, False)}
    assert held(nn.Linear(6, 2), images) == {"weight": (1, False)}
    assert turned(nn.Linear(6, 2), images) == {"weight": (0, False)}
    words = tn.tensor([[1], [2], [3]])
    assert held(nn.Embedding(9, 4), words) == {"weight": (None, True)}
    assert turned(Tied(), words) == {"words.weight": (None, False)}
    assert turned(Left(), tn.randn(3, 4)) == {"a": (0, False), "b": (None, False)}
