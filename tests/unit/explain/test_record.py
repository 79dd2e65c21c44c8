"""What a record says of a graph: passes, kernels, formulas, traffic, code."""

import pytest

from tenor.explain import record_of
from tenor.explain.formula import affine_text, formula
from tenor.explain.traffic import traffic_of
from tenor.ir import dtype as dt
from tenor.ir.build import GraphBuilder
from tenor.ir.kernel import Affine, Buffer, Expr, Guard, Kernel, Store
from tenor.ir.text import parse


def softmax_graph():
    """Return softmax(x @ w + b) with a run-time scale."""
    g = GraphBuilder()
    x, w, b = g.leaf((8, 5), dt.float32), g.leaf((5, 4), dt.float32), g.leaf((4,), dt.float32)
    scale = g.scalar(dt.float32)
    y = g.add(g.matmul(x, w), g.expand(g.reshape(b, (1, 4)), (8, 4)))
    y = g.mul(y, g.expand(g.reshape(scale, (1, 1)), (8, 4)))
    e = g.exp(g.sub(y, g.expand(g.max(y, (1,)), (8, 4))))
    return g.graph(g.div(e, g.expand(g.sum(e, (1,)), (8, 4))))


@pytest.fixture(scope="module")
def record():
    return record_of(3, softmax_graph())


def test_a_record_holds_every_stage(record):
    assert record.number == 3
    assert record.inputs == ("f32[8,5]", "f32[5,4]", "f32[4]")
    assert record.outputs == ("f32[8,4]",)
    assert record.scalars == 1
    assert len(parse(record.graph).nodes) == record.recorded_nodes
    assert len(parse(record.simplified).nodes) == record.nodes
    assert {"fuse", "lower", "emit"} <= {p.name for p in record.passes}
    assert all(p.seconds >= 0 for p in record.passes)
    assert record.kernels
    assert {k.body for k in record.kernels} == {b.number for b in record.bodies}
    for body in record.bodies:
        assert body.loops.startswith("function")
        assert f"@{body.symbol}(" in body.ir
        assert body.symbol in body.assembly
        assert body.size > 0
    assert sum(b.calls for b in record.bodies) == len(record.kernels)


def test_fusion_shows(record):
    every = {name for k in record.kernels for name, _ in k.operations}
    assert {"matmul", "add", "mul", "max", "exp", "sum", "div"} <= every
    assert any(len(k.operations) > 1 for k in record.kernels)


def test_the_matmul_is_counted(record):
    matmul = next(k for k in record.kernels if k.kind == "matmul")
    assert matmul.traffic.flops == 2 * 8 * 5 * 4
    assert matmul.traffic.read == 4 * (8 * 5 + 5 * 4)
    assert matmul.traffic.written == 4 * 8 * 4
    assert "matmul(%0, %1)" in matmul.formula


def test_kernels_over_the_same_rows_are_shown_one_after_the_other(record):
    joined = next(k for k in record.kernels if k.kind == "rows")
    assert {"exp", "sum", "div"} <= {name for name, _ in joined.operations}
    assert "row0[i0] = r0" in joined.formula
    assert "exp(" in joined.formula
    # At the least: subtract, exponentiate, add up and divide each element.
    assert joined.traffic.flops >= 4 * 8 * 4
    assert joined.traffic.written == 4 * 8 * 4


def test_kernels_name_the_values_of_the_simplified_graph(record):
    names = {f"%{i}" for i in range(record.nodes)}
    for kernel in record.kernels:
        assert {o.name for o in kernel.operands} <= names
        assert all(o.nbytes > 0 for o in kernel.operands)


def test_times_are_measured_or_left_out(record):
    assert all(k.seconds is not None and k.seconds >= 0 for k in record.kernels)
    assert record.seconds == sum(k.seconds for k in record.kernels)
    unmeasured = record_of(1, softmax_graph(), measure=False)
    assert unmeasured.seconds is None


def test_equal_layers_share_a_body():
    g = GraphBuilder()
    x = g.leaf((4, 4), dt.float32)
    w1, w2 = g.leaf((4, 4), dt.float32), g.leaf((4, 4), dt.float32)
    record = record_of(1, g.graph(g.matmul(g.matmul(x, w1), w2)), measure=False)
    assert len(record.kernels) == 2
    assert len(record.bodies) == 1
    assert record.bodies[0].calls == 2


def test_a_copy_has_no_arithmetic():
    g = GraphBuilder()
    record = record_of(1, g.graph(g.leaf((2,), dt.float32)))
    assert [k.operations for k in record.kernels] == [()]
    assert (record.flops, record.moved) == (0, 16)


# -- formulas ---------------------------------------------------------------------------------
def load(buffer, *strides, offset=0, guards=()):
    return Expr("load", (), (buffer, Affine(strides, offset), guards, ()), dt.float32)


def map_kernel(expr, domain=(3, 2), buffers=3):
    held = [Buffer(dt.float32, 6) for _ in range(buffers - 1)]
    strides = tuple((2, 1)[-len(domain) :])
    store = Store(buffers - 1, Affine(strides), expr)
    return Kernel("map", domain, [*held, Buffer(dt.float32, 6, written=True)], [store])


@pytest.mark.parametrize(
    ("affine", "text"),
    [(Affine((10, 1)), "10*i0 + i1"), (Affine((0, 1), 3), "i1 + 3"), (Affine((0,)), "0"),
     (Affine((-1,), 9), "-1*i0 + 9"), (Affine((1,), -2), "i0 - 2")],
)  # fmt: skip
def test_affine(affine, text):
    assert affine_text(affine) == text


def test_a_map_reads_as_a_formula():
    expr = Expr(
        "mul", (load(0, 2, 1), Expr("exp", (load(1, 0, 1),), (), dt.float32)), (), dt.float32
    )
    assert formula(map_kernel(expr), ["a", "b", "c"]) == (
        "for i0 < 3, i1 < 2:\n  c[2*i0 + i1] = a[2*i0 + i1] * exp(b[i1])"
    )


def test_what_is_used_twice_gets_a_name():
    shared = Expr("exp", (load(0, 2, 1),), (), dt.float32)
    expr = Expr("add", (shared, Expr("neg", (shared,), (), dt.float32)), (), dt.float32)
    text = formula(map_kernel(expr), ["a", "b", "c"])
    assert "t1 = exp(a[2*i0 + i1])" in text
    assert "c[2*i0 + i1] = t1 + -t1" in text


def test_a_guard_reads_as_a_condition():
    expr = load(0, 1, guards=(Guard(Affine((1,), -1), 0, 5),))
    text = formula(map_kernel(expr, (7,)), ["a", "b", "c"])
    assert "a[i0] if 0 <= i0 - 1 < 5 else 0" in text


def test_a_shared_expression_is_counted_once():
    expr = load(0, 2, 1)
    for _ in range(200):
        expr = Expr("add", (expr, expr), (), dt.float32)
    kernel = map_kernel(expr)
    flops, text = traffic_of(kernel).flops, formula(kernel, ["a", "b", "c"])
    # A failed assertion would print the kernel, whose text is as long as the tree of its uses.
    del kernel, expr
    assert flops == 200 * 6
    assert text.count("\n") == 200


def test_a_reduction_counts_its_steps():
    expr = Expr("mul", (load(0, 2, 1), load(0, 2, 1)), (), dt.float32)
    reduced = Expr("reduced", (), (0,), dt.float32)
    root = Expr("sqrt", (reduced,), (), dt.float32)
    kernel = Kernel(
        "reduce", (3, 2), [Buffer(dt.float32, 6), Buffer(dt.float32, 3, written=True)],
        [Store(1, Affine((1, 0)), root)], (1,), [("sum", expr)],
    )  # fmt: skip
    traffic = traffic_of(kernel)
    assert traffic.flops == 6 + 6 + 3
    assert traffic.read == 24
    assert traffic.written == 12
    text = formula(kernel, ["x", "y"])
    assert "r0 = sum over i1 of" in text
    assert "then for i0 < 3:" in text
    assert "y[i0] = sqrt(r0)" in text
