"""What a template reads: a strided view where one will do, else a copy."""

from tenor.compiler.schedule.operand import settle, strided
from tests.passes.programs import graph


def last(body):
    """Return the last node of a graph without outputs, and its first."""
    made = graph(body + "\n        return %0")
    return made.nodes[-1], made.nodes[0]


def test_a_leaf_is_itself():
    node, leaf = last("""
        %0 = leaf f32[3,4]""")
    found = strided(node)
    assert (found.node, found.strides, found.offset) == (leaf, (4, 1), 0)


def test_a_transposed_matrix_is_a_view():
    node, leaf = last("""
        %0 = leaf f32[3,4]
        %1 = permute f32[4,3] (%0) dims=[1,0]""")
    found = strided(node)
    assert (found.node, found.strides, found.offset) == (leaf, (1, 4), 0)


def test_a_slice_is_a_view_with_an_offset():
    node, leaf = last("""
        %0 = leaf f32[8,9]
        %1 = slice f32[3,4] (%0) starts=[2,5] sizes=[3,4] steps=[2,1]""")
    found = strided(node)
    assert (found.node, found.strides, found.offset) == (leaf, (18, 1), 23)


def test_a_matrix_for_a_whole_batch_stands_still():
    node, leaf = last("""
        %0 = leaf f32[3,4]
        %1 = expand f32[7,3,4] (%0) shape=[7,3,4]""")
    found = strided(node)
    assert (found.node, found.strides) == (leaf, (0, 4, 1))


def test_views_that_run_backwards_or_skip_both_ways_are_copied():
    for view in (
        "slice f32[3,4] (%0) starts=[0,3] sizes=[3,4] steps=[1,-1]",
        "slice f32[2,2] (%0) starts=[0,0] sizes=[2,2] steps=[2,2]",
        "expand f32[3,4] (%0) shape=[3,4]",
    ):
        shape = "[1,4]" if view.startswith("expand") else "[3,4]"
        node, _ = last(f"""
        %0 = leaf f32{shape}
        %1 = {view}""")
        found = strided(node)
        assert found.node is node
        assert found.offset == 0


def test_computed_operands_are_stored():
    node, _ = last("""
        %0 = leaf f32[3,4]
        %1 = exp f32[3,4] (%0)
        %2 = permute f32[4,3] (%1) dims=[1,0]""")
    assert strided(node).node is node.inputs[0]


def test_reshapes_and_barriers_are_the_same_bytes():
    node, leaf = last("""
        %0 = leaf f32[3,4]
        %1 = reshape f32[12] (%0) shape=[12]
        %2 = barrier f32[12] (%1)
        %3 = reshape f32[2,6] (%2) shape=[2,6]""")
    assert settle(node) is leaf
