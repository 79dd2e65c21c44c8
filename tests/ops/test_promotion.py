"""docs/promotion.md, row by row, against PyTorch and against what operations really give."""

from pathlib import Path

import pytest
import torch

import tenor as tn
from tenor.errors import DTypeError
from tests.ops.oracle import name

PAGE = Path(__file__).parents[2] / "docs" / "promotion.md"
REFUSED = "\N{EN DASH}"
LATE = ("uint16", "uint32", "uint64")  # PyTorch has them, and promotes them with nothing


def table(heading):
    """Return the rows of the table below a heading, as lists of cells."""
    text = PAGE.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[c.strip() for c in row.strip("|").split("|")] for row in rows if "---" not in row]


HEAD, *ROWS = table("Two tensors")
PAIRS = [(row[0], b, found) for row in ROWS for b, found in zip(HEAD[1:], row[1:], strict=True)]
HEAD2, *LEVELS = table("Tensors without dims, and numbers")


def test_the_table_has_every_dtype():
    dtypes = [d for d in tn.__all__ if isinstance(getattr(tn, d, None), tn.DType)]
    assert set(HEAD[1:]) == {getattr(tn, d).name for d in dtypes} == {row[0] for row in ROWS}


@pytest.mark.parametrize(("a", "b", "want"), PAIRS)
def test_two_tensors(a, b, want, count):
    x, y = tn.ones(2, dtype=getattr(tn, a)), tn.ones(2, dtype=getattr(tn, b))
    if want == REFUSED:
        with pytest.raises(DTypeError):
            x * y
    else:
        assert (x * y).dtype.name == tn.result_type(x, y).name == want
        assert tn.promote_types(x.dtype, y.dtype).name == want
    count("promotion", "dtype x dtype x rank")
    if not {a, b} & set(LATE) or a == b:
        assert name(torch.promote_types(getattr(torch, a), getattr(torch, b))) == want


OTHERS = {
    "tensor of no dims": lambda lib, d: lib.ones((), dtype=getattr(lib, d)),
    "True": lambda lib, d: True,
    "1": lambda lib, d: 1,
    "1.0": lambda lib, d: 1.0,
}


@pytest.mark.parametrize("row", LEVELS, ids=lambda r: "-".join(r[:2]))
def test_dims_and_numbers(row, count):
    kind, other, want = row[:3]
    other, _, of = other.partition(": ")
    x, y = (lib.ones(2, dtype=getattr(lib, kind)) for lib in (tn, torch))
    a, b = (OTHERS[other](lib, of) for lib in (tn, torch))
    assert name((y * b).dtype) == want
    assert (x * a).dtype.name == tn.result_type(x, a).name == want
    count("promotion", "dtype x dtype x rank")


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("a", [d for d in HEAD[1:] if d not in LATE])
def test_every_pair_of_levels(a, rank, count):
    x, y = (lib.ones((2,) * rank, dtype=getattr(lib, a)) for lib in (tn, torch))
    for b in [d for d in HEAD[1:] if d not in LATE]:
        for other in (0, 1):
            p, q = (lib.ones((2,) * other, dtype=getattr(lib, b)) for lib in (tn, torch))
            assert name(torch.result_type(y, q)) == tn.result_type(x, p).name == (x + p).dtype.name
            count("promotion", "dtype x dtype x rank")
    for number in (True, 2, 2.5):
        assert name(torch.result_type(y, number)) == tn.result_type(x, number).name
        assert (x * number).dtype.name == name((y * number).dtype)


@pytest.mark.parametrize("dtype", [d for d in HEAD[1:] if d not in LATE])
def test_functions_that_leave_the_integers(dtype):
    x, y = (lib.ones(2, dtype=getattr(lib, dtype)) for lib in (tn, torch))
    for function in ("sqrt", "exp", "sin", "sigmoid", "log", "tanh", "reciprocal"):
        assert getattr(tn, function)(x).dtype.name == name(getattr(torch, function)(y).dtype)
    assert (x / x).dtype.name == name((y / y).dtype)
    assert (x == x).dtype is tn.bool
    for function in ("sum", "prod", "cumsum"):
        args = (0,) if function == "cumsum" else ()
        assert getattr(x, function)(*args).dtype.name == name(getattr(y, function)(*args).dtype)
    assert tn.cat([x, tn.ones(1)]).dtype.name == name(torch.cat([y, torch.ones(1)]).dtype)
    assert tn.where(x > 0, x, 0.5).dtype.name == name(torch.where(y > 0, y, 0.5).dtype)


def test_in_place_keeps_the_tensors_dtype():
    x = tn.ones(2, dtype=tn.float16)
    x += tn.ones(2, dtype=tn.float64)
    assert x.dtype is tn.float16
    with pytest.raises(DTypeError):
        tn.ones(2, dtype=tn.int64).add_(0.5)
    with pytest.raises(DTypeError):
        tn.ones(2, dtype=tn.bool).add_(1)


@pytest.mark.parametrize("a", [d for d in HEAD[1:] if d not in LATE])
def test_casts_that_keep_the_kind(a):
    for b in HEAD[1:]:
        if b not in LATE:
            want = torch.can_cast(getattr(torch, a), getattr(torch, b))
            assert tn.can_cast(getattr(tn, a), getattr(tn, b)) == want


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_limits_of_floats(dtype):
    mine, theirs = tn.finfo(getattr(tn, dtype)), torch.finfo(getattr(torch, dtype))
    for fact in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution", "dtype"):
        assert getattr(mine, fact) == getattr(theirs, fact), fact
    assert repr(mine) == repr(theirs)


@pytest.mark.parametrize("dtype", [d for d in HEAD[1:] if "int" in d])
def test_limits_of_integers(dtype):
    mine, theirs = tn.iinfo(getattr(tn, dtype)), torch.iinfo(getattr(torch, dtype))
    for fact in ("bits", "max", "min", "dtype"):
        assert getattr(mine, fact) == getattr(theirs, fact), fact
    with pytest.raises(DTypeError):
        tn.iinfo(tn.float32)
    with pytest.raises(DTypeError):
        tn.finfo(getattr(tn, dtype))


def test_the_default():
    assert tn.get_default_dtype() is tn.float32
