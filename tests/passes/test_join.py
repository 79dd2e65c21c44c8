"""join: a sum of disjoint padded pieces becomes a concatenation."""

import numpy as np
import pytest

from tenor.compiler.emit import reference
from tenor.compiler.simplify import dead, join
from tests.passes.programs import graph, lines, written


def test_two_halves_are_concatenated():
    start = graph("""
        %0 = leaf f32[2]
        %1 = leaf f32[4]
        %2 = pad f32[6] (%0) low=[0] high=[4] value=0.0
        %3 = pad f32[6] (%1) low=[2] high=[0] value=0.0
        %4 = add f32[6] (%2, %3)
        return %4
    """)
    assert written(dead(join(start))) == lines("""
        %0 = leaf f32[2]
        %1 = leaf f32[4]
        %2 = const f32[] value=0.0 dtype=f32
        %3 = add f32[2] (%0, %2)
        %4 = add f32[4] (%1, %2)
        %5 = concat f32[6] (%3, %4) dim=0
        return %5
    """)


def test_gaps_are_filled_with_zeros_and_order_does_not_matter():
    start = graph("""
        %0 = leaf f32[2,1]
        %1 = leaf f32[2,1]
        %2 = pad f32[2,6] (%0) low=[0,4] high=[0,1] value=0.0
        %3 = pad f32[2,6] (%1) low=[0,1] high=[0,4] value=0.0
        %4 = add f32[2,6] (%2, %3)
        return %4
    """)
    result = dead(join(start))
    concat = result.outputs[0]
    assert concat.op.name == "concat"
    assert [n.shape[1] for n in concat.inputs] == [1, 1, 2, 1, 1]
    arrays = [np.array([[-0.0], [2]], np.float32), np.array([[3], [-4]], np.float32)]
    before, after = reference.run(start, arrays, []), reference.run(result, arrays, [])
    assert before[0].tobytes() == after[0].tobytes()


@pytest.mark.parametrize(
    ("low", "high", "value"),
    [
        ("[1]", "[3]", "0.0"),  # overlaps
        ("[2]", "[0]", "1.0"),  # not zero
        ("[2]", "[0]", "-0.0"),  # -0 + -0 is -0
    ],
)
def test_other_sums_stay(low, high, value):
    size = {"[3]": 2, "[0]": 4}[high]
    start = graph(f"""
        %0 = leaf f32[2]
        %1 = leaf f32[{size}]
        %2 = pad f32[6] (%0) low=[0] high=[4] value={value}
        %3 = pad f32[6] (%1) low={low} high={high} value={value}
        %4 = add f32[6] (%2, %3)
        return %4
    """)
    assert written(join(start)) == written(start)


def test_pieces_along_different_dims_stay():
    start = graph("""
        %0 = leaf f32[2,4]
        %1 = leaf f32[4,2]
        %2 = pad f32[4,4] (%0) low=[2,0] high=[0,0] value=0.0
        %3 = pad f32[4,4] (%1) low=[0,2] high=[0,0] value=0.0
        %4 = add f32[4,4] (%2, %3)
        return %4
    """)
    assert written(join(start)) == written(start)
