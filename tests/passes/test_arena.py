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


def streamed(body):
    """Return, for each kernel, which of its buffers are written past the caches."""
    kernels = after("arena", graph(body)).schedule.kernels
    return [[b.streamed for b in kernel.buffers] for kernel in kernels]


def test_a_large_output_is_written_past_the_caches():
    body = """
        %0 = leaf f32[2048,{n}]
        %1 = exp f32[2048,{n}] (%0)
        return %1
    """
    assert streamed(body.replace("{n}", "2048")) == [[False, True]]
    assert streamed(body.replace("{n}", "100")) == [[False, False]]


def test_an_output_that_another_kernel_reads_is_not():
    body = """
        %0 = leaf f32[2048,2048]
        %1 = cumsum f32[2048,2048] (%0) dim=1 reverse=false
        %2 = cumsum f32[2048,2048] (%1) dim=1 reverse=false
        return %1, %2
    """
    assert streamed(body) == [[False, False], [False, True]]


def test_among_rows_the_output_is_and_what_is_kept_private_is_not():
    body = """
        %0 = leaf f32[2048,2048]
        %1 = sum f32[2048,1] (%0) dims=[1]
        %2 = expand f32[2048,2048] (%1) shape=[2048,2048]
        %3 = sub f32[2048,2048] (%0, %2)
        return %3
    """
    kernel = after("arena", graph(body)).schedule.kernels[0]
    first, second = (part.kernel for part in kernel.parts)
    assert not any(b.streamed for b in first.buffers)
    assert sum(b.streamed for b in second.buffers) == 1
