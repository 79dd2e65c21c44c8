"""What happens to operands before an operation."""

import pytest

import tenor as tn
from tenor.errors import DTypeError, ShapeError
from tenor.ir import op as ops
from tenor.tensor.operands import (
    broadcast_shapes,
    cast,
    constant,
    floating,
    prepare,
    refuse_bools,
    slot,
    spread,
)


def test_cast_and_floating_leave_what_fits():
    x, whole = tn.ones(2), tn.ones(2, dtype=tn.int16)
    assert cast(x, tn.float32) is x
    assert floating(x) is x
    assert floating(x.double()).dtype is tn.float64
    assert floating(whole).dtype is tn.float32


def test_a_constant_is_part_of_the_program_and_a_slot_is_not():
    assert constant(2, tn.float32).state.op is ops.CONST
    assert slot(2, tn.float32).state.op is ops.SCALAR
    assert constant(1, tn.bool).item() is True
    assert slot(0, tn.bool).item() is False


@pytest.mark.parametrize(
    ("value", "dtype", "want"),
    [
        (300, "uint8", 44),
        (-1, "uint8", 255),
        (200, "int8", -56),
        (2**31, "int32", -(2**31)),
        (-1, "uint64", 2**64 - 1),
        (2**63, "uint64", 2**63),
        (2**64 - 1, "int64", -1),
        (2.9, "int64", 2),
        (True, "float32", 1.0),
        (3, "bool", True),
    ],
)
def test_a_slot_wraps_as_a_cast_does(value, dtype, want):
    assert slot(value, getattr(tn, dtype)).item() == want


def test_numbers_do_not_make_new_programs():
    from tenor.engine.flush import counts

    x = tn.ones(7).materialize()
    (x * 1.5 + 2).tolist()
    built = counts["plans"]
    for k in range(5):
        # Outside of the assert, which would hold on to what lies between.
        got = (x * (k + 0.25) + k).tolist()
        assert got == [2 * k + 0.25] * 7
    assert counts["plans"] == built


@pytest.mark.parametrize(
    ("shapes", "want"),
    [
        (((2, 3), (3,)), (2, 3)),
        (((2, 1), (1, 3)), (2, 3)),
        (((), (4,)), (4,)),
        (((0, 3), (1,)), (0, 3)),
        ((), ()),
        (((2, 1, 3), (4, 1), ()), (2, 4, 3)),
    ],
)
def test_broadcast_shapes(shapes, want):
    assert broadcast_shapes("f", *shapes) == want


def test_broadcast_shapes_that_do_not_meet():
    with pytest.raises(ShapeError) as caught:
        broadcast_shapes("f", (2, 3), (2,))
    assert "shape (2, 3)" in str(caught.value)
    assert "shape (2,)" in str(caught.value)
    assert "unsqueeze()" in str(caught.value)


def test_spread_leaves_what_meets_every_element():
    x, y, z = tn.ones(2, 3), tn.ones(3), tn.tensor(1.0)
    a, b, c = spread("f", (x, y, z))
    assert a is x
    assert b.shape == (2, 3)
    assert c is z


def test_prepare():
    whole, flags = tn.ones(3, dtype=tn.int32), tn.ones(3) > 0
    assert [v.dtype for v in prepare("f", whole, 2, "float")] == [tn.float32] * 2
    assert [v.dtype for v in prepare("f", whole, 2.5, "any")] == [tn.float32] * 2
    assert [v.dtype for v in prepare("f", whole, flags, "bits")] == [tn.int32] * 2
    with pytest.raises(DTypeError, match="integers and bools"):
        prepare("f", whole, 2.5, "bits")
    with pytest.raises(DTypeError, match="not defined for bools"):
        prepare("f", flags, whole, "numbers")
    refuse_bools("f", whole, 1)
    with pytest.raises(DTypeError, match="bool"):
        refuse_bools("f", whole, True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_factor_beside_halves_is_not_rounded_to_a_half(dtype):
    """0.1 is 0.1 in float32; the product is rounded once, as in PyTorch."""
    import torch

    theirs = torch.linspace(0.3, 7, 200).to(getattr(torch, dtype))
    mine = tn.tensor(theirs.float().numpy()).to(getattr(tn, dtype))
    scale = tn.tensor(0.1)
    for got, want in (
        (mine * 0.1, theirs * 0.1),
        (mine / 0.3, theirs / 0.3),
        (mine + 0.1, theirs + 0.1),
        (mine * scale, theirs * 0.1),
        (0.1 * mine, 0.1 * theirs),
        (mine - 0.7, theirs - 0.7),
        (mine * mine[0], theirs * theirs[0]),
    ):
        assert got.dtype is mine.dtype
        assert got.float().tolist() == want.float().tolist()
