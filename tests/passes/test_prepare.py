"""prepare: weights are packed by kernels of their own, before everything else where that lasts."""

import numpy as np

import tenor as tn
from tests.passes.programs import after, graph

CONV = """
    %0 = leaf f32[1,64,14,14]
    %1 = leaf f32[64,64,3,3]
    %2 = conv f32[1,64,14,14] (%0, %1) stride=[1,1] padding=[[1,1],[1,1]] dilation=[1,1] groups=1
    %3 = conv f32[1,64,14,14] (%2, %1) stride=[1,1] padding=[[1,1],[1,1]] dilation=[1,1] groups=1
    return %3
"""
UPDATED = """
    %0 = leaf f32[1,64,14,14]
    %1 = leaf f32[64,64,3,3]
    %2 = conv f32[1,64,14,14] (%0, %1) stride=[1,1] padding=[[1,1],[1,1]] dilation=[1,1] groups=1
    %3 = add f32[64,64,3,3] (%1, %1)
    return %2, %3
"""
MADE = """
    %0 = leaf f32[1,64,14,14]
    %1 = leaf f32[64,64,3,3]
    %2 = add f32[64,64,3,3] (%1, %1)
    %3 = conv f32[1,64,14,14] (%0, %2) stride=[1,1] padding=[[1,1],[1,1]] dilation=[1,1] groups=1
    return %3
"""
SMALL = """
    %0 = leaf f32[1,3,14,14]
    %1 = leaf f32[4,3,3,3]
    %2 = conv f32[1,4,14,14] (%0, %1) stride=[1,1] padding=[[1,1],[1,1]] dilation=[1,1] groups=1
    return %2
"""


def program(body, skip=()):
    return after("emit", graph(body), skip).program


def test_a_weight_is_prepared_once_and_first():
    made = program(CONV)
    assert [launch.label for launch in made.launches] == ["prepare", "conv", "conv"]
    assert (made.preparations, made.prepared_from) == (1, (1,))
    assert made.kept >= 16 * 64 * 64 * 4
    spaces = [[p.space for p in launch.pointers] for launch in made.launches]
    assert spaces == [["input", "kept"], ["input", "kept", "arena"], ["arena", "kept", "output"]]


def test_without_it_the_convolution_does_it_itself():
    made = program(CONV, skip=("prepare",))
    assert [launch.label for launch in made.launches] == ["conv", "conv"]
    assert (made.preparations, made.kept) == (0, 0)


def test_what_is_written_over_or_computed_is_not_kept():
    whole = graph(UPDATED)
    whole.updates = ((whole.nodes[1], 1),)
    updated = after("emit", whole, ()).program
    assert updated.donated == [(1, 1)]
    for made in (updated, program(MADE)):
        assert (made.preparations, made.kept) == (0, 0)
        assert "prepare" in [launch.label for launch in made.launches]


def test_a_weight_that_is_read_as_it_is_stays():
    assert [launch.label for launch in program(SMALL).launches] == ["conv"]


LINEAR = """
    %0 = leaf f32[1,96]
    %1 = leaf f32[128,96]
    %2 = permute f32[96,128] (%1) dims=[1,0]
    %3 = matmul f32[1,128] (%0, %2)
    return %3
"""
TWICE = """
    %0 = leaf f32[1,96]
    %1 = leaf f32[128,96]
    %2 = permute f32[96,128] (%1) dims=[1,0]
    %3 = matmul f32[1,128] (%0, %2)
    %4 = matmul f32[1,96] (%3, %1)
    return %4
"""
COMPUTED = """
    %0 = leaf f32[1,96]
    %1 = leaf f32[128,96]
    %2 = add f32[128,96] (%1, %1)
    %3 = permute f32[96,128] (%2) dims=[1,0]
    %4 = matmul f32[1,128] (%0, %3)
    return %4
"""
TRAINED = """
    %0 = leaf f32[1,96]
    %1 = leaf f32[128,96]
    %2 = permute f32[96,128] (%1) dims=[1,0]
    %3 = matmul f32[1,128] (%0, %2)
    %4 = permute f32[128,1] (%3) dims=[1,0]
    %5 = matmul f32[128,96] (%4, %0)
    return %3, %5
"""


def test_the_matrix_of_a_few_rows_is_transposed_once():
    for rows in (1, 16):
        made = program(LINEAR.replace("f32[1,", f"f32[{rows},"))
        assert [launch.label for launch in made.launches] == ["prepare", "matmul"]
        assert (made.preparations, made.prepared_from) == (1, (1,))
    for rows in (17, 96):
        assert not program(LINEAR.replace("f32[1,", f"f32[{rows},")).preparations


def test_a_matrix_that_may_change_or_is_read_elsewhere_too_is_read_as_it_lies():
    for body in (TWICE, COMPUTED, TRAINED):
        assert "prepare" not in [launch.label for launch in program(body).launches]


def test_an_operand_that_the_kernel_reads_as_it_lies_too_is_not_prepared():
    """A product's tiles are taken by a map, and the weight is the other operand, or the map's."""
    a = np.arange(6, dtype=np.float32).reshape(2, 3) - 2
    b = np.arange(9, dtype=np.float32).reshape(3, 3) - 4
    x, w = tn.tensor(a), tn.tensor(b)
    y = x @ x.T
    assert (y * 2).tolist() == ((a @ a.T) * 2).tolist()
    assert y.tolist() == (a @ a.T).tolist()
    assert (w @ w.T + w).tolist() == (b @ b.T + b).tolist()
    assert (tn.tensor(b[:1]) @ w.T * w[:1]).tolist() == ((b[:1] @ b.T) * b[:1]).tolist()
