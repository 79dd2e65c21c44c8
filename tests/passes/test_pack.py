"""pack: a matrix that many small products read is copied into panels, once."""

import numpy as np
import pytest

from tenor.compiler.emit.reference import run
from tenor.compiler.simplify import pack
from tenor.compiler.simplify.pack import MANY
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.build import GraphBuilder
from tests.passes.programs import after, written


def products(count, rows=4, k=64, n=256):
    """Return a graph of so many products with one matrix."""
    b = GraphBuilder()
    w = b.leaf((k, n), dt.float32)
    return b.graph(*[b.matmul(b.leaf((rows, k), dt.float32), w) for _ in range(count)])


def test_many_small_products_read_one_copy():
    packed = pack(products(MANY))
    panels = {n.inputs[1] for n in packed.nodes if n.op is ops.MATMUL}
    assert len(panels) == 1
    (view,) = panels
    assert [view.op, view.inputs[0].op, view.inputs[0].inputs[0].op] == [
        ops.RESHAPE, ops.PERMUTE, ops.PERMUTE,
    ]  # fmt: skip
    kernels = after("fuse", products(MANY)).schedule.kernels
    assert [k.kind for k in kernels].count("map") == 1
    assert {k.params["panel"] for k in kernels if k.kind == "matmul"} == {64}


@pytest.mark.parametrize(
    "shape",
    [
        {"count": MANY - 1}, {"count": MANY, "rows": 200}, {"count": MANY, "rows": 1},
        {"count": MANY, "n": 250}, {"count": MANY, "k": 16},
    ],
    ids=["few", "long", "one row", "no whole panels", "small"],
)  # fmt: skip
def test_where_it_is_not_worth_it_nothing_changes(shape):
    start = products(**shape)
    assert written(pack(start)) == written(start)


def test_other_readers_read_the_matrix_as_it_was():
    b = GraphBuilder()
    w = b.leaf((64, 256), dt.float32)
    many = [b.matmul(b.leaf((4, 64), dt.float32), w) for _ in range(MANY)]
    other = b.exp(w)
    packed = pack(b.graph(*many, other))
    assert packed.outputs[-1].inputs == (w,)


def test_the_values_are_the_same():
    start = products(MANY)
    rng = np.random.default_rng(0)
    given = [rng.standard_normal(n.shape).astype("f4") for n in start.nodes if n.op is ops.LEAF]
    for got, want in zip(run(pack(start), given, []), run(start, given, []), strict=True):
        assert np.array_equal(got, want)
