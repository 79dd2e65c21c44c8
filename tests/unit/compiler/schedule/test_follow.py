"""A map becomes part of what it follows, by each of the ways there are."""

import pytest

from tenor.compiler.schedule.follow import by_element, by_piece, by_tile, join_maps
from tenor.compiler.schedule.fuse import fuse
from tests.passes.programs import graph

PRIVATE = ~0
WAYS = {
    "tile": by_tile(lambda _producer, _map: True),
    "piece": by_piece(lambda kernel: kernel.kind == "conv"),
    "element": by_element({"matmul", "conv"}),
}
PRODUCT = """
    %0 = leaf f32[16,16]
    %1 = leaf f32[16,16]
    %2 = matmul f32[16,16] (%0, %1)
"""
CONV = """
    %0 = leaf f32[1,8,6,6]
    %1 = leaf f32[8,8,3,3]
    %2 = conv f32[1,8,6,6] (%0, %1) stride=[1,1] padding=[[1,1],[1,1]] dilation=[1,1] groups=1
"""
ADDED = """
    %3 = add f32[SHAPE] (%2, %0)
    return %3
"""
NEGATED = """
    %3 = neg f32[SHAPE] (%0)
    %4 = add f32[SHAPE] (%2, %3)
    return %3, %4
"""
every = pytest.mark.parametrize(
    ("way", "kind"),
    [("tile", "matmul"), ("piece", "conv"), ("element", "matmul"), ("element", "conv")],
)


def whole(kind, rest):
    """Return the graph of a product or convolution, and what follows it."""
    body, shape = (PRODUCT, "16,16") if kind == "matmul" else (CONV, "1,8,6,6")
    return graph(body.rstrip() + rest.replace("SHAPE", shape))


@every
def test_they_are_one_kernel_and_an_operand_both_read_has_a_pointer_for_each(way, kind):
    given = whole(kind, ADDED)
    x, w, _, y = given.nodes
    made = join_maps(fuse(given), WAYS[way])
    assert made.labels == [f"{kind}+add"]
    assert made.stored == [y]
    ((part,),) = (kernel.parts for kernel in made.kernels)
    # The result is private, or stands where the map writes: the last of the map's buffers.
    nodes, wires = ([x, w, y, x], (2, 3, 2)) if way == "piece" else ([x, w, x, y], (PRIVATE, 2, 3))
    assert made.values == [nodes]
    assert part.wires == wires


@every
@pytest.mark.parametrize("rest", [ADDED, NEGATED], ids=["the map", "one before it"])
def test_an_operand_is_not_read_behind_a_kernel_that_writes_over_it(way, kind, rest):
    given = whole(kind, rest)
    given.updates = ((given.nodes[0], 0),)
    schedule = fuse(given)
    assert schedule.donated
    assert join_maps(schedule, WAYS[way]).labels == schedule.labels


def test_a_product_of_one_part_of_a_concatenation_may_make_another():
    given = graph("""
        %0 = leaf f32[1,16,16]
        %1 = abs f32[1,16,16] (%0)
        %2 = leaf f32[1,16,16]
        %3 = matmul f32[1,16,16] (%1, %2)
        %4 = tanh f32[1,16,16] (%3)
        %5 = concat f32[2,16,16] (%4, %1) dim=0
        return %5
    """)
    assert join_maps(fuse(given), WAYS["tile"]).labels == ["abs", "matmul+concat"]
