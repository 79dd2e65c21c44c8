"""turn: the transpose of a product is a product."""

from tenor.compiler.simplify import dead, turn
from tests.passes.programs import graph, lines, written


def test_a_transposed_product_is_written_the_way_it_is_read():
    start = graph("""
        %0 = leaf f32[4,3]
        %1 = leaf f32[4,5]
        %2 = permute f32[3,4] (%0) dims=[1,0]
        %3 = matmul f32[3,5] (%2, %1)
        %4 = permute f32[5,3] (%3) dims=[1,0]
        return %4
    """)
    assert written(dead(turn(start))) == lines("""
        %0 = leaf f32[4,3]
        %1 = leaf f32[4,5]
        %2 = permute f32[5,4] (%1) dims=[1,0]
        %3 = matmul f32[5,3] (%2, %0)
        return %3
    """)


def kept(body):
    start = graph(body)
    return written(dead(turn(start))) == written(start)


def test_a_product_somebody_else_reads_stays():
    assert kept("""
        %0 = leaf f32[3,4]
        %1 = leaf f32[4,5]
        %2 = matmul f32[3,5] (%0, %1)
        %3 = permute f32[5,3] (%2) dims=[1,0]
        return %2, %3
    """)


def test_another_permutation_stays():
    assert kept("""
        %0 = leaf f32[2,3,4]
        %1 = leaf f32[2,4,5]
        %2 = matmul f32[2,3,5] (%0, %1)
        %3 = permute f32[3,2,5] (%2) dims=[1,0,2]
        return %3
    """)
