"""Dims and shapes made regular."""

import numpy as np
import pytest

from tenor.errors import ArgumentError, AxisError, ShapeError
from tenor.tensor.dims import Size, aliased, axes, axis, shape_of, solve


@pytest.mark.parametrize(
    ("dim", "ndim", "want"), [(0, 3, 0), (-1, 3, 2), (2, 3, 2), (-3, 3, 0), (0, 0, 0), (-1, 0, 0)]
)
def test_axis(dim, ndim, want):
    assert axis("f", dim, ndim) == want
    assert axis("f", np.int64(dim), ndim) == want


@pytest.mark.parametrize(("dim", "ndim"), [(3, 3), (-4, 3), (1, 0), (-2, 0)])
def test_axis_out_of_range_names_the_function_and_the_range(dim, ndim):
    extent = ndim or 1
    with pytest.raises(AxisError) as caught:
        axis("f", dim, ndim)
    assert f"f: dim must lie in [-{extent}, {extent})" in str(caught.value)
    assert f"dim {dim} for a tensor of {ndim} dims" in str(caught.value)
    assert isinstance(caught.value, IndexError)


def test_axis_is_an_integer():
    for wrong in (1.0, "0", None):
        with pytest.raises(ArgumentError, match="must be an integer"):
            axis("f", wrong, 2)


@pytest.mark.parametrize(
    ("dim", "ndim", "want"),
    [
        (None, 3, (0, 1, 2)),
        ((), 2, (0, 1)),
        ([], 2, (0, 1)),
        (1, 3, (1,)),
        ((2, 0), 3, (0, 2)),
        ([-1], 3, (2,)),
        (0, 0, ()),
        ((-1,), 0, ()),
        (None, 0, ()),
    ],
)
def test_axes(dim, ndim, want):
    assert axes("f", dim, ndim) == want


def test_axes_name_a_dim_once():
    with pytest.raises(ArgumentError, match="once"):
        axes("f", (0, -2), 2)
    with pytest.raises(AxisError):
        axes("f", (0, 2), 2)


@pytest.mark.parametrize(
    ("args", "want"),
    [
        ((2, 3), (2, 3)),
        (((2, 3),), (2, 3)),
        (([2, 3],), (2, 3)),
        ((), ()),
        (((),), ()),
        ((4,), (4,)),
        ((Size((1, 2)),), (1, 2)),
        ((np.int32(3),), (3,)),
        ((range(2),), (0, 1)),
    ],
)
def test_shape_of(args, want):
    assert shape_of("f", args) == want


def test_a_shape_is_made_of_integers():
    with pytest.raises(ArgumentError, match="//"):
        shape_of("f", (6 / 2,))


@pytest.mark.parametrize(
    ("shape", "count", "want"),
    [
        ((2, -1), 6, (2, 3)),
        ((6,), 6, (6,)),
        ((), 1, ()),
        ((-1,), 0, (0,)),
        ((3, 0), 0, (3, 0)),
        ((-1, 1), 5, (5, 1)),
    ],
)
def test_solve(shape, count, want):
    assert solve("f", shape, count) == want


@pytest.mark.parametrize(
    ("shape", "count"),
    [((-1, -1), 4), ((2, -2), 4), ((4,), 6), ((4, -1), 6), ((0, -1), 0), ((), 2)],
)
def test_solve_refuses_what_does_not_fit(shape, count):
    with pytest.raises(ShapeError):
        solve("f", shape, count)


def test_a_size_is_a_tuple_that_counts():
    assert Size((2, 3, 4)).numel() == 24
    assert Size(()).numel() == 1
    assert Size((2, 3)) == (2, 3)
    assert Size((2, 3, 4))[1:].numel() == 12
    assert (Size((2, 3)) + Size((4,))).numel() == 24
    assert type(Size((2, 3))[0]) is int
    assert hash(Size((2, 3))) == hash((2, 3))


def test_aliased_names():
    @aliased
    def f(x, dim=None, keepdim=False):
        """Say what it was given."""
        return x, dim, keepdim

    assert f(1, axis=2, keepdims=True) == f(1, 2, True) == f(1, dim=2, keepdim=True)
    assert f.__doc__ == "Say what it was given."
    with pytest.raises(TypeError):
        f(1, 2, axis=3)
