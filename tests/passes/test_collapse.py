"""collapse: movement of movement becomes one movement, and movement that moves nothing goes."""

import pytest

from tenor.compiler.simplify import collapse, dead
from tests.passes.programs import graph, lines, written

CASES = {
    "reshape": (
        """
        %0 = leaf f32[2,3,4]
        %1 = reshape f32[6,4] (%0) shape=[6,4]
        %2 = reshape f32[24] (%1) shape=[24]
        return %2
        """,
        """
        %0 = leaf f32[2,3,4]
        %1 = reshape f32[24] (%0) shape=[24]
        return %1
        """,
    ),
    "reshape and back": (
        """
        %0 = leaf f32[6]
        %1 = reshape f32[2,3] (%0) shape=[2,3]
        %2 = reshape f32[6] (%1) shape=[6]
        %3 = neg f32[6] (%2)
        return %3
        """,
        """
        %0 = leaf f32[6]
        %1 = neg f32[6] (%0)
        return %1
        """,
    ),
    "permute": (
        """
        %0 = leaf f32[2,3,4]
        %1 = permute f32[4,2,3] (%0) dims=[2,0,1]
        %2 = permute f32[3,4,2] (%1) dims=[2,0,1]
        return %2
        """,
        """
        %0 = leaf f32[2,3,4]
        %1 = permute f32[3,4,2] (%0) dims=[1,2,0]
        return %1
        """,
    ),
    "permute and back": (
        """
        %0 = leaf f32[2,3]
        %1 = permute f32[3,2] (%0) dims=[1,0]
        %2 = permute f32[2,3] (%1) dims=[1,0]
        %3 = neg f32[2,3] (%2)
        return %3
        """,
        """
        %0 = leaf f32[2,3]
        %1 = neg f32[2,3] (%0)
        return %1
        """,
    ),
    "expand": (
        """
        %0 = leaf f32[3,1]
        %1 = expand f32[3,4] (%0) shape=[3,4]
        %2 = expand f32[2,3,4] (%1) shape=[2,3,4]
        return %2
        """,
        """
        %0 = leaf f32[3,1]
        %1 = expand f32[2,3,4] (%0) shape=[2,3,4]
        return %1
        """,
    ),
    "cast to the same": (
        """
        %0 = leaf f32[3]
        %1 = cast f32[3] (%0) dtype=f32
        %2 = neg f32[3] (%1)
        return %2
        """,
        """
        %0 = leaf f32[3]
        %1 = neg f32[3] (%0)
        return %1
        """,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_two_become_one(name):
    before, wanted = CASES[name]
    start = graph(before)
    result = dead(collapse(start))
    assert written(result) == lines(wanted)
    assert len(result.nodes) < len(start.nodes)


def test_a_cast_to_less_and_back_stays():
    start = graph("""
        %0 = leaf f32[3]
        %1 = cast f16[3] (%0) dtype=f16
        %2 = cast f32[3] (%1) dtype=f32
        return %2
    """)
    assert written(dead(collapse(start))) == written(start)


def test_a_movement_that_is_read_twice_stays_for_its_other_reader():
    start = graph("""
        %0 = leaf f32[6]
        %1 = reshape f32[2,3] (%0) shape=[2,3]
        %2 = reshape f32[6] (%1) shape=[6]
        %3 = add f32[6] (%0, %2)
        return %3, %1
    """)
    assert written(dead(collapse(start))) == lines("""
        %0 = leaf f32[6]
        %1 = reshape f32[2,3] (%0) shape=[2,3]
        %2 = add f32[6] (%0, %0)
        return %2, %1
    """)
