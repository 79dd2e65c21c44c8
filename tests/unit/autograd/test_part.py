"""Parts of a cotangent: what is put together, and that it adds up to the same."""

import numpy as np
import pytest

from tenor.autograd.part import SHORT, Piece, Product, replaced, total, turned
from tenor.compiler.emit.reference import run
from tenor.ir import dtype as dt
from tenor.ir.build import GraphBuilder


def leaves(b, *shapes):
    return [b.leaf(shape, dt.float64) for shape in shapes]


def added(b, parts, shape, leaf=True):
    """Return what the parts add up to, the names of the operations written, and the inputs."""
    rng = np.random.default_rng(0)
    start = len(b.nodes)
    values = [rng.standard_normal(n.shape) for n in b.nodes]
    written = list(total(b, parts, shape, leaf=leaf))
    names = [n.op.name for n in b.nodes[start:]]
    whole = written[0]
    for other in written[1:]:
        whole = b.add(whole, other)
    return run(b.graph(whole), values, [])[0], names, values


def test_short_products_are_one_over_all_rows_in_the_order_of_the_program():
    b = GraphBuilder()
    x = leaves(b, *[(3, 4)] * 3)
    g = leaves(b, *[(3, 5)] * 3)
    arrived = [Product(a, c, 0) for a, c in zip(x[::-1], g[::-1], strict=True)]
    got, names, values = added(b, arrived, (4, 5))
    assert names.count("matmul") == 1
    assert names.count("concat") == 2
    assert np.array_equal(got, np.concatenate(values[:3]).T @ np.concatenate(values[3:]))


def test_products_along_rows_are_joined_at_a_leaf_alone():
    b = GraphBuilder()
    g = leaves(b, *[(4, 3)] * 2)
    w = leaves(b, *[(5, 3)] * 2)
    parts = [Product(a, c, 1) for a, c in zip(g, w, strict=True)]
    got, names, values = added(b, parts, (4, 5))
    assert names.count("matmul") == 1
    assert np.allclose(got, values[0] @ values[2].T + values[1] @ values[3].T)
    assert [n.op.name for n in total(b, parts, (4, 5), leaf=False)] == ["matmul", "matmul"]


def test_long_products_stay_apart():
    b = GraphBuilder()
    x = leaves(b, *[(SHORT + 1, 2)] * 2)
    g = leaves(b, *[(SHORT + 1, 3)] * 2)
    _, names, _ = added(b, [Product(a, c, 0) for a, c in zip(x, g, strict=True)], (2, 3))
    assert names.count("matmul") == 2
    assert "concat" not in names


def test_a_product_is_turned_by_swapping_its_sides():
    b = GraphBuilder()
    x, g = leaves(b, (3, 4), (3, 5))
    part = turned(Product(x, g, 0))
    got, _, values = added(b, [part], (5, 4))
    assert np.array_equal(got, values[1].T @ values[0])
    assert turned(Piece(x, (0, 0))) is None


def test_disjoint_pieces_lie_side_by_side_with_zeros_between():
    b = GraphBuilder()
    first, second = leaves(b, (2, 3), (1, 3))
    got, names, values = added(b, [Piece(second, (4, 0)), Piece(first, (1, 0))], (6, 3))
    wanted = np.zeros((6, 3))
    wanted[1:3], wanted[4:5] = values
    assert np.array_equal(got, wanted)
    assert names.count("concat") == 1
    assert not {"pad", "add"} & set(names)


@pytest.mark.parametrize(
    "pieces",
    [
        [((0, 0), (3, 4)), ((2, 0), (3, 4)), ((4, 0), (2, 4))],  # overlapping
        [((0, 0), (3, 4)), ((0, 0), (3, 4)), ((3, 0), (3, 4))],  # one twice
        [((0, 0), (3, 4)), ((0, 2), (6, 2))],  # along two dims
        [((1, 1), (2, 2)), ((3, 1), (2, 2))],  # in the middle of both
    ],
    ids=["overlapping", "twice", "two dims", "middle"],
)
def test_any_pieces_add_up(pieces):
    b = GraphBuilder()
    gs = leaves(b, *[shape for _, shape in pieces])
    parts = [Piece(g, starts) for g, (starts, _) in zip(gs, pieces, strict=True)]
    got, _, values = added(b, parts, (6, 4))
    wanted = np.zeros((6, 4))
    for value, ((i, j), (m, n)) in zip(values, pieces, strict=True):
        wanted[i : i + m, j : j + n] += value
    assert np.allclose(got, wanted)


def test_parts_can_be_put_on_other_nodes():
    b = GraphBuilder()
    x, g, other = leaves(b, (3, 4), (3, 5), (3, 4))
    assert replaced(Product(x, g, 0), lambda n: other if n is x else n) == Product(other, g, 0)
    assert replaced(Piece(x, (0, 0)), lambda _: other) == Piece(other, (0, 0))
