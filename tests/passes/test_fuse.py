"""fuse: what is stored, and what shares a kernel."""

import pytest

import tenor as tn
from tenor.ir.kernel import ordered
from tests.passes.programs import after, graph


def kernels(body, skip=()):
    """Return the labels of the kernels."""
    return after("fuse", graph(body), skip).schedule.labels


def stored(body):
    """Return the operations whose values reach memory."""
    return [n.op.name for n in after("fuse", graph(body)).schedule.stored]


CHAIN = """
    %0 = leaf f32[40,50]
    %1 = exp f32[40,50] (%0)
    %2 = neg f32[40,50] (%1)
    %3 = abs f32[40,50] (%2)
    return %3, %1
"""
MOMENTS = """
    %0 = leaf f32[40,50]
    %1 = mul f32[40,50] (%0, %0)
    %2 = sum f32[40,1] (%1) dims=[1]
    %3 = sum f32[40,1] (%0) dims=[1]
    %4 = mul f32[40,1] (%3, %3)
    %5 = sub f32[40,1] (%2, %4)
    %6 = sqrt f32[40,1] (%5)
    return %6
"""


def test_a_chain_is_one_kernel_and_stores_only_its_outputs():
    assert kernels(CHAIN) == ["exp+abs"]
    assert stored(CHAIN) == ["exp", "abs"]


def test_without_it_each_stored_value_has_a_kernel():
    assert kernels(CHAIN, skip=("fuse",)) == ["exp", "abs"]


def test_a_reduction_takes_in_what_it_reads_and_what_follows_it():
    body = """
        %0 = leaf f32[40,50]
        %1 = mul f32[40,50] (%0, %0)
        %2 = sum f32[40,1] (%1) dims=[1]
        %3 = sqrt f32[40,1] (%2)
        return %3
    """
    assert kernels(body) == ["sum+sqrt"]
    assert stored(body) == ["sqrt"]


def test_reductions_of_one_tensor_over_the_same_dims_share_a_kernel():
    body = """
        %0 = leaf f32[40,50]
        %1 = mul f32[40,50] (%0, %0)
        %2 = sum f32[40,1] (%1) dims=[1]
        %3 = sum f32[40,1] (%0) dims=[1]
        %4 = max f32[40,1] (%0) dims=[1] ties="even"
        return %2, %3, %4
    """
    assert len(kernels(body)) == 1


def test_reductions_over_other_dims_do_not():
    body = """
        %0 = leaf f32[40,50]
        %1 = sum f32[40,1] (%0) dims=[1]
        %2 = sum f32[1,50] (%0) dims=[0]
        return %1, %2
    """
    assert len(kernels(body)) == 2


def test_fusing_saves_kernels_and_bytes():
    fused = after("arena", graph(MOMENTS))
    apart = after("arena", graph(MOMENTS), skip=("fuse",))
    assert len(fused.schedule.kernels) == 1
    assert len(apart.schedule.kernels) == 3
    assert fused.arena == 0
    assert apart.arena > 0


def test_movement_is_no_kernel():
    body = """
        %0 = leaf f32[40,50]
        %1 = permute f32[50,40] (%0) dims=[1,0]
        %2 = slice f32[10,40] (%1) starts=[49,0] sizes=[10,40] steps=[-2,1]
        %3 = pad f32[12,40] (%2) low=[1,0] high=[1,0] value=0.0
        %4 = neg f32[12,40] (%3)
        return %4
    """
    assert stored(body) == ["neg"]


def test_a_costly_value_with_two_readers_is_computed_once():
    body = """
        %0 = leaf f32[50]
        %1 = exp f32[50] (%0)
        %2 = expand f32[40,50] (%1) shape=[40,50]
        %3 = sum f32[1] (%1) dims=[0]
        return %2, %3
    """
    assert "exp" in stored(body)


def test_a_value_written_in_pieces_is_read_after_its_last_piece():
    for values in ("starts=[49] steps=[-1]", "starts=[0] steps=[1]"):
        body = f"""
            %0 = leaf f32[50]
            %1 = leaf f32[50]
            %2 = neg f32[50] (%0)
            %3 = slice_update f32[50] (%2, %1) {values}
            %4 = add f32[50] (%3, %0)
            return %4, %3
        """
        labels = kernels(body)
        assert labels[-1] == "add"
        assert labels.count("slice_update") == 2


STACK = """
    %0 = leaf f32[2,3]
    %1 = cumsum f32[2,3] (%0) dim=0 reverse=false
    %2 = cumsum f32[2,3] (%0) dim=1 reverse=false
    %3 = concat f32[4,3] (%1, %2) dim=0
    %4 = cumsum f32[4,3] (%3) dim=0 reverse=false
    return %4
"""


def test_the_pieces_of_a_stack_are_computed_where_it_lies():
    assembly = after("arena", graph(STACK))
    assert [k.kind for k in assembly.schedule.kernels] == ["cumsum"] * 3
    made = [n for n in assembly.graph.nodes if n.op.name in ("cumsum", "concat")]
    first, second, stack, _ = made
    assert assembly.where[first] == assembly.where[stack]
    assert assembly.where[second].offset == assembly.where[stack].offset + 24


def test_without_it_the_pieces_are_copied():
    assembly = after("arena", graph(STACK), skip=("fuse",))
    assert [k.kind for k in assembly.schedule.kernels].count("map") == 2


def test_a_piece_that_is_an_output_has_its_own_bytes():
    start = STACK.replace("return %4", "return %1, %4")
    assembly = after("arena", graph(start))
    assert [k.kind for k in assembly.schedule.kernels].count("map") == 1


def test_kernels_on_other_parts_of_a_value_are_one():
    assembly = after(
        "dedupe",
        graph("""
            %0 = leaf f32[4,40]
            %1 = slice f32[1,40] (%0) starts=[1,0] sizes=[1,40] steps=[1,1]
            %2 = slice f32[1,40] (%0) starts=[3,0] sizes=[1,40] steps=[1,1]
            %3 = sum f32[1,1] (%1) dims=[1]
            %4 = sum f32[1,1] (%2) dims=[1]
            %5 = exp f32[1,1] (%3)
            %6 = mul f32[1,1] (%5, %4)
            return %3, %4, %6
        """),
        skip=("fuse",),
    )
    starts = [k.buffers[0].start for k in assembly.schedule.kernels if k.kind == "reduce"]
    assert sorted(starts) == [40, 120]
    assert len({assembly.uses[i] for i in (0, 1)}) == 1


def test_a_kernel_that_computes_nothing_is_left_out():
    body = """
        %0 = leaf f32[3,0]
        %1 = neg f32[3,0] (%0)
        %2 = cumsum f32[3,0] (%1) dim=0 reverse=false
        %3 = sum f32[3,1] (%1) dims=[1]
        return %2, %3
    """
    assert kernels(body) == ["sum"]


def test_a_leaf_is_overwritten_where_its_update_allows_it():
    body = """
        %0 = leaf f32[50]
        %1 = leaf f32[50]
        %2 = sub f32[50] (%0, %1)
        return %2
        update %0 0
    """
    schedule = after("fuse", graph(body)).schedule
    assert [(at, leaf.op.name) for at, leaf in schedule.donated.items()] == [(0, "leaf")]


def test_a_leaf_read_at_another_index_is_not_overwritten():
    for line in (
        "slice f32[50] (%0) starts=[49] sizes=[50] steps=[-1]",
        "permute f32[50] (%0) dims=[0]",
    ):
        body = f"""
            %0 = leaf f32[50]
            %1 = {line}
            %2 = sub f32[50] (%0, %1)
            return %2
            update %0 0
        """
        donated = after("fuse", graph(body)).schedule.donated
        assert bool(donated) == line.startswith("permute")


def test_a_leaf_another_kernel_reads_later_is_not_overwritten():
    body = """
        %0 = leaf f32[50]
        %1 = leaf f32[50]
        %2 = sub f32[50] (%0, %1)
        %3 = sum f32[1] (%2) dims=[0]
        %4 = expand f32[50] (%3) shape=[50]
        %5 = mul f32[50] (%4, %0)
        return %2, %5
        update %0 0
    """
    assert after("fuse", graph(body)).schedule.donated == {}


def test_a_write_into_a_constant_needs_no_copy_of_it():
    body = """
        %0 = leaf i64[3]
        %1 = leaf f32[3,4]
        %2 = const f32[] value=0.0 dtype=f32
        %3 = expand f32[9,4] (%2) shape=[9,4]
        %4 = put f32[9,4] (%3, %0, %1) dim=0 mode="add"
        return %4
    """
    assert kernels(body) == ["put"]


@pytest.mark.parametrize(("op", "least"), [("exp", 30), ("neg", 3)])
def test_a_long_chain_is_cut_into_kernels_of_bounded_size(op, least):
    """LLVM's time grows faster than a kernel: one of thousands of operations takes minutes."""
    count = 3000
    lines = [f"    %{i} = {op} f32[40,50] (%{i - 1})" for i in range(1, count + 1)]
    body = "\n".join(["    %0 = leaf f32[40,50]", *lines, f"    return %{count}\n"])
    made = after("fuse", graph(body)).schedule.kernels
    assert least <= len(made) < count // 50
    sizes = [sum(1 for _ in ordered(s.expr for s in kernel.stores)) for kernel in made]
    assert max(sizes) < 1100


def test_a_position_among_merged_dims_needs_no_copy_of_what_merges_them():
    """The gradient of max pooling asks which element of a window was the largest."""
    body = """
        %0 = leaf f32[3,4,20,30]
        %1 = unfold f32[3,4,10,30,2] (%0) dim=2 size=2 step=2 dilation=1
        %2 = unfold f32[3,4,10,15,2,2] (%1) dim=3 size=2 step=2 dilation=1
        %3 = max f32[3,4,10,15,1,1] (%2) dims=[4,5] ties="first"
        %4 = reshape f32[3,4,10,15,4] (%2) shape=[3,4,10,15,4]
        %5 = argmax i64[3,4,10,15,1] (%4) dim=4
        return %3, %5
    """
    assert kernels(body) == ["max+argmax"]


def test_behind_a_barrier_is_computed_after_what_it_waits_for():
    body = """
        %0 = leaf f32[50]
        %1 = leaf f32[50,50]
        %2 = exp f32[50] (%0)
        %3 = reshape f32[1,50] (%2) shape=[1,50]
        %4 = matmul f32[1,50] (%3, %1)
        %5 = barrier f32[50] (%0, %4)
        %6 = tanh f32[50] (%5)
        return %4, %6
    """
    assert kernels(body) == ["exp", "matmul", "tanh"]
    assert kernels(body.replace("(%0, %4)", "(%0)"))[0] == "exp+tanh"


def test_a_reduction_nobody_reads_waits_for_a_later_one():
    """Gradients of a bias and of a weight: the same values are read once for both."""
    body = """
        %0 = leaf f32[40,50]
        %1 = sum f32[1,50] (%0) dims=[0]
        %2 = sum f32[40,1] (%0) dims=[1]
        %3 = expand f32[40,50] (%2) shape=[40,50]
        %4 = mul f32[40,50] (%0, %3)
        %5 = sum f32[1,50] (%4) dims=[0]
        return %1, %5
    """
    schedule = after("fuse", graph(body)).schedule
    assert [k.reduce_dims for k in schedule.kernels] == [(1,), (0,)]
    assert len(schedule.kernels[1].reductions) == 2


def test_a_reduction_that_is_read_does_not_wait():
    body = """
        %0 = leaf f32[40,50]
        %1 = sum f32[1,50] (%0) dims=[0]
        %2 = expand f32[40,50] (%1) shape=[40,50]
        %3 = mul f32[40,50] (%0, %2)
        %4 = sum f32[1,50] (%3) dims=[0]
        return %4
    """
    kernels = after("fuse", graph(body)).schedule.kernels
    assert [len(k.reductions) for k in kernels] == [1, 1]


def test_a_leaf_is_not_written_over_before_the_kernel_has_read_it_for_the_last_time():
    """A new gradient over the old one, where a parameter is still to be moved along the old one."""
    p, g = tn.ones(50), tn.full((50,), 2.0)
    for x in (p, g):
        x.numpy()
    old, fresh = g * 1.0, tn.full((50,), 3.0)
    g.copy_(fresh * 0.5 + 1)
    p.sub_(old * 0.25)
    p.sub_(g * 0.125)
    del old
    assert p.tolist() == [1 - 0.5 - 0.3125] * 50
    assert g.tolist() == [2.5] * 50
