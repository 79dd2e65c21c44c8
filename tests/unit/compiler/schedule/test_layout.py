"""Reductions that would read across memory are given a copy that lies along it."""

import pytest

from tests.passes.programs import after, graph


def labels(source, shape, dims, result):
    """Return the kernels of a sum over a permuted leaf."""
    return after("fuse", graph(f"""
        %0 = leaf f32{source}
        %1 = permute f32{shape} (%0) dims=[1,0]
        %2 = sum f32{result} (%1) dims={dims}
        return %2
    """)).schedule.labels  # fmt: skip


@pytest.mark.parametrize(
    ("dims", "result"), [("[1]", "[40,1]"), ("[0]", "[1,50]"), ("[0,1]", "[1,1]")]
)
def test_a_sum_of_a_transposed_matrix_reads_a_copy(dims, result):
    assert labels("[50,40]", "[40,50]", dims, result) == ["permute", "sum"]


def test_a_small_one_is_read_where_it_lies():
    assert labels("[50,4]", "[4,50]", "[1]", "[4,1]") == ["sum"]
    assert labels("[5,40]", "[40,5]", "[1]", "[40,1]") == ["sum"]


def test_what_lies_along_memory_is_not_copied():
    body = """
        %0 = leaf f32[20,30,40]
        %1 = permute f32[30,20,40] (%0) dims=[1,0,2]
        %2 = sum f32[30,20,1] (%1) dims=[2]
        %3 = sum f32[20,30,1] (%0) dims=[2]
        return %2, %3
    """
    assert "permute" not in after("fuse", graph(body)).schedule.labels


def test_a_computed_value_is_stored_once_for_several_reductions():
    body = """
        %0 = leaf f32[50,40]
        %1 = permute f32[40,50] (%0) dims=[1,0]
        %2 = exp f32[40,50] (%1)
        %3 = sum f32[40,1] (%2) dims=[1]
        %4 = max f32[40,1] (%2) dims=[1] ties="even"
        return %3, %4
    """
    assert after("fuse", graph(body)).schedule.labels == ["exp", "sum+max"]
