"""Movement as index arithmetic, against NumPy on arrays that hold their own addresses."""

import numpy as np
import pytest

from tenor.compiler.schedule.access import NotAffine, identity, linear, push, strides_of
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.build import GraphBuilder
from tenor.ir.node import size

SOURCE = (3, 4, 5)


def built(rows, shape=SOURCE):
    """Return the node of movements applied in turn, and the leaf."""
    b = GraphBuilder()
    leaf = node = b.leaf(shape, dt.float32)
    for name, *attrs in rows:
        node = b.emit(ops.OPS[name], (node,), tuple(attrs))
    return node, leaf


def moved(node, array):
    """Return what NumPy makes of the movements, and where it is defined."""
    if node.op is ops.LEAF:
        return array
    x = moved(node.inputs[0], array)
    if node.op is ops.RESHAPE:
        return x.reshape(node.shape)
    if node.op is ops.EXPAND:
        return np.broadcast_to(x, node.shape)
    if node.op is ops.PERMUTE:
        return x.transpose(node.attrs[0])
    if node.op is ops.PAD:
        low, high, _ = node.attrs
        return np.pad(x, list(zip(low, high, strict=True)), constant_values=-1)
    if node.op is ops.UNFOLD:
        dim, count, step, dilation = node.attrs
        places = np.arange(node.shape[dim])[:, None] * step + np.arange(count) * dilation
        return np.moveaxis(np.take(x, places, axis=dim), dim + 1, -1)
    starts, sizes, steps = node.attrs
    every = zip(starts, sizes, steps, strict=True)
    return x[np.ix_(*(s + np.arange(n) * k for s, n, k in every))]


def addresses(node, leaf):
    """Return the address each index of the node looks at by affine arithmetic; -1 outside."""
    rank = len(node.shape)
    coords, guards, base = identity(node.shape), [], node
    while base is not leaf:
        step = push(base, coords, rank)
        coords, base = step.coords, base.inputs[0]
        guards += step.guards
    at = linear(coords, leaf.shape, rank)
    grid = np.indices(node.shape)
    found = (
        at.offset
        + sum(s * g for s, g in zip(at.strides, grid, strict=True))
        + np.zeros(node.shape, int)
    )
    for guard in guards:
        a = guard.affine
        where = a.offset + sum(s * g for s, g in zip(a.strides, grid, strict=True))
        found = np.where((where >= guard.low) & (where < guard.high), found, -1)
    return found


CASES = {
    "nothing": [],
    "reshape with ones": [("reshape", (3, 1, 4, 1, 5, 1))],
    "permute": [("permute", (2, 0, 1))],
    "expand": [("expand", (2, 3, 4, 5))],
    "slice": [("slice", (2, 0, 4), (2, 2, 3), (-2, 2, -1))],
    "pad": [("pad", (1, 0, 2), (0, 2, 0), 0.0)],
    "unfold": [("unfold", 1, 2, 1, 2)],
    "permute, then split": [("permute", (2, 0, 1)), ("reshape", (5, 3, 2, 2))],
    "slice, then expand": [("slice", (0, 3, 0), (3, 1, 5), (1, -1, 1)), ("expand", (2, 3, 6, 5))],
    "pad, then permute": [("pad", (1, 1, 1), (1, 1, 1), 0.0), ("permute", (1, 2, 0))],
    "pad, then slice": [
        ("pad", (0, 2, 0), (0, 2, 0), 0.0),
        ("slice", (0, 7, 0), (3, 4, 5), (1, -2, 1)),
    ],
    "pad twice": [("pad", (1, 0, 0), (0, 0, 0), 0.0), ("pad", (0, 0, 1), (1, 0, 0), 0.0)],
    "unfold twice": [("unfold", 1, 2, 2, 1), ("unfold", 2, 3, 1, 1)],
    "split, then merge": [("reshape", (3, 2, 2, 5)), ("permute", (1, 0, 2, 3))],
}


@pytest.mark.parametrize("name", CASES)
def test_addresses_are_numpys(name):
    node, leaf = built(CASES[name])
    assert np.array_equal(addresses(node, leaf), moved(node, np.arange(60).reshape(SOURCE)))


@pytest.mark.parametrize(
    "rows",
    [
        [("reshape", (60,))],
        [("reshape", (4, 15))],
        [("permute", (2, 0, 1)), ("reshape", (15, 4))],
        [("slice", (0, 0, 0), (3, 2, 5), (1, 2, 1)), ("reshape", (6, 5))],
        [("expand", (2, 3, 4, 5)), ("reshape", (120,))],
    ],
    ids=str,
)
def test_a_reshape_that_no_affine_says_asks_for_its_source(rows):
    node, _ = built(rows)
    with pytest.raises(NotAffine) as caught:
        push(node, identity(node.shape), len(node.shape))
    assert caught.value.node is node.inputs[0]


@pytest.mark.parametrize("shape", [(), (1,), (7,), (2, 3, 4), (5, 1, 3)])
def test_strides_are_row_major(shape):
    array = np.empty(shape, np.int8)
    wanted = tuple(s for s, n in zip(array.strides, shape, strict=True) if n > 1)
    assert tuple(s for s, n in zip(strides_of(shape), shape, strict=True) if n > 1) == wanted


def test_dims_of_one_element_stand_still():
    assert [a.strides for a in identity((4, 1, 3))] == [(1, 0, 0), (0, 0, 0), (0, 0, 1)]


def test_an_empty_result_looks_at_nothing():
    node, leaf = built([("reshape", (0, 2))], (0, 3))
    step = push(node, identity(node.shape), 2)
    assert len(step.coords) == 2
    assert linear(step.coords, leaf.shape, 2).strides == (0, 0)
    assert size(node.shape) == 0
