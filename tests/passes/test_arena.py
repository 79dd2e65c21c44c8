"""arena: intermediate values share bytes where their lifetimes do not meet."""

from tests.passes.programs import after, graph

# Sorting keeps values apart: each is stored, and dead once the next is made.
CHAIN = """
    %0 = leaf f32[1000]
    %1 = cumsum f32[1000] (%0) dim=0 reverse=false
    %2 = cumsum f32[1000] (%1) dim=0 reverse=true
    %3 = cumsum f32[1000] (%2) dim=0 reverse=false
    %4 = cumsum f32[1000] (%3) dim=0 reverse=true
    %5 = cumsum f32[1000] (%4) dim=0 reverse=false
    return %5
"""
BYTES = 4032  # 1000 float32, in whole cache lines


def pieces(assembly):
    """Return (first byte, end, first kernel, last kernel) of each value in the arena."""
    found = {}
    for k, values in enumerate(assembly.schedule.values):
        for node in values:
            if assembly.where[node].space == "arena":
                first, _ = found.get(node, (k, k))
                found[node] = (first, k)
    made = []
    for node, (first, last) in found.items():
        start = assembly.where[node].at
        count = node.dtype.itemsize
        for n in node.shape:
            count *= n
        made.append((start, start + count, first, last))
    return made


def test_a_chain_needs_two_values_at_once():
    assert after("arena", graph(CHAIN)).arena == 2 * BYTES


def test_without_it_each_has_its_own_bytes():
    assert after("arena", graph(CHAIN), skip=("arena",)).arena == 4 * BYTES


def test_values_alive_together_never_overlap():
    for skip in ((), ("arena",), ("fuse",)):
        made = pieces(after("arena", graph(CHAIN), skip))
        for i, (start, end, first, last) in enumerate(made):
            for other_start, other_end, other_first, other_last in made[:i]:
                together = first <= other_last and other_first <= last
                assert not (together and start < other_end and other_start < end)


def test_every_value_starts_on_a_cache_line_inside_the_arena():
    assembly = after("arena", graph(CHAIN))
    for start, end, _, _ in pieces(assembly):
        assert start % 64 == 0
        assert end <= assembly.arena


def test_inputs_and_outputs_are_not_in_the_arena():
    assembly = after("arena", graph(CHAIN))
    leaf, output = assembly.graph.nodes[0], assembly.graph.outputs[0]
    assert (assembly.where[leaf].space, assembly.where[output].space) == ("input", "output")


def test_a_value_that_lives_long_keeps_its_bytes():
    body = """
        %0 = leaf f32[1000]
        %1 = cumsum f32[1000] (%0) dim=0 reverse=false
        %2 = cumsum f32[1000] (%1) dim=0 reverse=true
        %3 = cumsum f32[1000] (%2) dim=0 reverse=false
        %4 = cumsum f32[1000] (%3) dim=0 reverse=false
        %5 = add f32[1000] (%4, %1)
        return %5
    """
    assert after("arena", graph(body)).arena == 3 * BYTES
