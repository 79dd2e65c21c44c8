"""split-reduce: a long reduction is done in two steps."""

import pytest

from tenor.compiler import compile
from tenor.compiler.simplify import split_reduce
from tests.passes.programs import TARGET, graph, lines, written


def test_a_long_sum_is_split():
    start = graph("""
        %0 = leaf f32[1048576]
        %1 = sum f32[1] (%0) dims=[0]
        return %1
    """)
    assert written(split_reduce(start)) == lines("""
        %0 = leaf f32[1048576]
        %1 = reshape f32[256,4096] (%0) shape=[256,4096]
        %2 = sum f32[256,1] (%1) dims=[1]
        %3 = sum f32[1,1] (%2) dims=[0]
        %4 = reshape f32[1] (%3) shape=[1]
        return %4
    """)


def test_then_there_is_work_for_several_threads():
    start = graph("""
        %0 = leaf f32[1048576]
        %1 = sum f32[1] (%0) dims=[0]
        return %1
    """)
    assert max(tiles for tiles, _, _ in compile(start, TARGET).shapes) >= 64


@pytest.mark.parametrize("rows", [1, 2, 64])
def test_how_a_row_is_split_does_not_depend_on_the_others(rows):
    start = graph(f"""
        %0 = leaf f32[{rows},262144]
        %1 = sum f32[{rows},1] (%0) dims=[1]
        return %1
    """)
    assert f"reshape f32[{rows},64,4096] (%0)" in written(split_reduce(start))


@pytest.mark.parametrize(
    ("dtype", "shape", "result", "dims"),
    [
        ("f32", "[1000]", "[1]", "[0]"),  # short
        ("f32", "[64,32760]", "[64,1]", "[1]"),  # short, however many
        ("f16", "[1048576]", "[1]", "[0]"),  # a partial sum would be rounded
        ("f32", "[1048583]", "[1]", "[0]"),  # a prime
    ],
)
def test_others_are_left_alone(dtype, shape, result, dims):
    start = graph(f"""
        %0 = leaf {dtype}{shape}
        %1 = sum {dtype}{result} (%0) dims={dims}
        return %1
    """)
    assert written(split_reduce(start)) == written(start)


def test_all_kinds_that_may_be_done_in_parts_are():
    for name, more in (("max", ' ties="even"'), ("min", ' ties="even"'), ("prod", "")):
        start = graph(f"""
            %0 = leaf f32[2,131072]
            %1 = {name} f32[2,1] (%0) dims=[1]{more}
            return %1
        """)
        assert [n.op.name for n in split_reduce(start).nodes] == [
            "leaf",
            "reshape",
            name,
            name,
            "reshape",
        ]
