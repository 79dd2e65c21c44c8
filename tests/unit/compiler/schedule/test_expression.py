"""From nodes to the expressions of a kernel: what is loaded, shared, guarded and recognised."""

from tenor.compiler.schedule.fuse import fuse
from tenor.ir.kernel import Affine, Expr
from tests.passes.programs import graph


def kernels(body):
    """Return the kernels of a graph."""
    return fuse(graph(body)).kernels


def every(kernel):
    """Return all expressions of a kernel, each once."""
    found = {}

    def walk(expr):
        if expr not in found:
            found[expr] = None
            for arg in expr.args:
                walk(arg)

    for root in [s.expr for s in kernel.stores] + [e for _, e in kernel.reductions]:
        walk(root)
    return list(found)


def of(kernel, op):
    """Return a kernel's expressions of one kind."""
    return [e for e in every(kernel) if e.op == op]


def test_equal_expressions_are_one_object():
    from tenor.ir import dtype as dt

    one = Expr("const", (), (1.0,), dt.float32)
    assert Expr("const", (), (1.0,), dt.float32) is one
    assert Expr("neg", (one,), (), dt.float32) is Expr("neg", (one,), (), dt.float32)


def test_numbers_that_only_compare_equal_are_different_objects():
    from tenor.ir import dtype as dt

    made = [Expr("const", (), (v,), dt.float32) for v in (0.0, -0.0, 0, False)]
    assert len(set(map(id, made))) == 4
    assert Expr("const", (), (0.0,), dt.float64) is not made[0]


def test_an_element_that_several_operations_read_is_loaded_once():
    (kernel,) = kernels("""
        %0 = leaf f32[4,5]
        %1 = mul f32[4,5] (%0, %0)
        %2 = add f32[4,5] (%1, %0)
        return %2
    """)
    assert len(of(kernel, "load")) == 1


def test_reads_at_different_places_are_different_loads():
    (kernel,) = kernels("""
        %0 = leaf f32[5,5]
        %1 = permute f32[5,5] (%0) dims=[1,0]
        %2 = add f32[5,5] (%0, %1)
        return %2
    """)
    assert {e.attrs[1] for e in of(kernel, "load")} == {Affine((5, 1)), Affine((1, 5))}


def test_padding_guards_its_loads_and_chooses_the_constant():
    (kernel,) = kernels("""
        %0 = leaf f32[5]
        %1 = pad f32[9] (%0) low=[1] high=[3] value=2.5
        return %1
    """)
    (load,), (inside,), (choice,) = of(kernel, "load"), of(kernel, "inside"), of(kernel, "where")
    (guard,) = inside.attrs[0]
    assert (guard.affine, guard.low, guard.high) == (Affine((1,), -1), 0, 5)
    assert load.attrs[2] == (guard,)
    assert choice.args[2].attrs == (2.5,)


def test_a_stored_literal_stays_a_literal_for_its_readers():
    for kernel in kernels("""
        %0 = leaf f32[50]
        %1 = const f32[] value=3.0 dtype=f32
        %2 = pow f32[50] (%0, %1)
        return %1, %2
    """):
        for power in of(kernel, "pow"):
            assert power.args[1].op == "const"


def test_run_time_numbers_are_slots():
    (kernel,) = kernels("""
        %0 = leaf f32[50]
        %1 = scalar f32[]
        %2 = scalar i64[]
        %3 = cast f32[] (%2) dtype=f32
        %4 = mul f32[50] (%0, %1)
        %5 = mul f32[50] (%4, %3)
        return %5
    """)
    slots = [kernel.buffers[e.attrs[0]] for e in of(kernel, "scalar")]
    assert sorted(b.dtype.text for b in slots) == ["f64", "i64"]
    assert [b.size for b in slots] == [1, 1]


def test_an_index_is_an_operand_of_its_load():
    (kernel,) = kernels("""
        %0 = leaf f32[10,7]
        %1 = leaf i64[3]
        %2 = wrap_index i64[3] (%1) size=10 what="index"
        %3 = take f32[3,7] (%0, %2) dim=0
        return %3
    """)
    load = next(e for e in of(kernel, "load") if e.args)
    assert load.args[0].op == "wrap_index"
    assert load.attrs[1] == Affine((0, 1))
    assert load.attrs[3] == (7,)


def test_what_a_kernel_writes_and_reads_is_marked():
    (kernel,) = kernels("""
        %0 = leaf f32[50]
        %1 = neg f32[50] (%0)
        return %1
    """)
    assert [b.written for b in kernel.buffers] == [True, False] or [
        b.written for b in kernel.buffers
    ] == [False, True]


def test_a_value_used_inside_its_kernel_alone_has_no_buffer():
    (kernel,) = kernels("""
        %0 = leaf f32[50,60]
        %1 = sum f32[50,1] (%0) dims=[1]
        %2 = neg f32[50,1] (%1)
        return %2
    """)
    assert len(kernel.buffers) == 2
    assert len(kernel.stores) == 1
