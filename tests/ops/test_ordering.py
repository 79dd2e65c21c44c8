"""Sorting, running results and counting, against PyTorch."""

import math

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, AxisError, DTypeError, ShapeError
from tests.ops.oracle import NUMBERS, agree, given, gradients_agree, name

SHAPES = [((), 0), ((1,), 0), ((7,), 0), ((3, 5), 0), ((3, 5), 1), ((2, 3, 4), 1), ((2, 33, 3), -2),
          ((0,), 0), ((2, 0, 3), 1), ((2, 0, 3), 0)]  # fmt: skip


def distinct(shape, dtype=torch.float32):
    """Return numbers without equal ones along any dim, so that positions are settled."""
    count = math.prod(shape)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(count))
    return (order - count // 2).reshape(shape).to(dtype)


def few(shape, dtype=torch.float32):
    """Return numbers of which many are equal."""
    made = torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(1))
    return made.to(dtype)


# -- running ------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [*NUMBERS, torch.bool], ids=str)
@pytest.mark.parametrize(("shape", "dim"), SHAPES, ids=str)
def test_running_sums_and_products(shape, dim, dtype, count):
    x = few(shape, dtype)
    agree(tn.cumsum(given(x), dim), torch.cumsum(x, dim))
    if dtype not in (torch.float16, torch.bfloat16):
        agree(tn.cumprod(given(x), dim), torch.cumprod(x, dim))
    count("ordering", "op x dtype x shape", 2)


@pytest.mark.parametrize(("shape", "dim"), [s for s in SHAPES if 0 not in s[0]], ids=str)
def test_running_gradients(shape, dim):
    x = distinct(shape, torch.float64) / 10
    gradients_agree(lambda a: tn.cumsum(a, dim), lambda a: torch.cumsum(a, dim), [x])
    gradients_agree(lambda a: tn.cumprod(a, dim), lambda a: torch.cumprod(a, dim), [x])
    gradients_agree(lambda a: tn.logcumsumexp(a, dim), lambda a: torch.logcumsumexp(a, dim), [x])
    gradients_agree(lambda a: tn.cummax(a, dim).values, lambda a: torch.cummax(a, dim).values, [x])


def test_running_sums_take_a_dtype_and_names():
    x = few((2, 3), torch.int32)
    agree(tn.cumsum(given(x), dim=1, dtype=tn.float32), torch.cumsum(x, 1, dtype=torch.float32))
    agree(tn.cumsum(given(x), axis=1), torch.cumsum(x, 1))
    y = given(x.float())
    y.cumsum_(0).cumprod_(1)
    agree(y, x.float().cumsum(0).cumprod(1))
    with pytest.raises(AxisError):
        tn.cumsum(given(x), 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.uint8], ids=str)
@pytest.mark.parametrize(("shape", "dim"), SHAPES, ids=str)
def test_running_extremes(shape, dim, dtype, count):
    x = few(shape, dtype)
    if dtype.is_floating_point and len(shape) == 3 and x.numel():
        x[..., 1] = torch.nan
        x[0, 0, 0] = -torch.inf
    agree(tn.cummax(given(x), dim), torch.cummax(x, dim))
    agree(tn.cummin(given(x), dim), torch.cummin(x, dim))
    count("ordering", "op x dtype x shape", 2)


def test_running_logarithms_do_not_overflow():
    x = torch.tensor([1000.0, 1000.0, -math.inf, 3.0])
    agree(tn.logcumsumexp(given(x), 0), torch.logcumsumexp(x, 0))
    low = torch.full((3,), -math.inf)
    agree(tn.logcumsumexp(given(low), 0), torch.logcumsumexp(low, 0))


def test_differences_and_areas():
    x = distinct((3, 5)).square()
    for n, dim in ((1, -1), (2, 0), (0, 1), (9, 1)):
        agree(tn.diff(given(x), n, dim), torch.diff(x, n, dim))
    agree(tn.diff(given(x), 1, 0, prepend=given(x[:1])), torch.diff(x, 1, 0, prepend=x[:1]))
    flags = x > 4
    agree(tn.diff(given(flags)), torch.diff(flags))
    places = torch.tensor([0.0, 1.0, 3.0, 4.0, 8.0])
    agree(tn.trapezoid(given(x)), torch.trapezoid(x))
    agree(tn.trapezoid(given(x), given(places)), torch.trapezoid(x, places))
    agree(tn.trapezoid(given(x), dx=0.5, dim=0), torch.trapezoid(x, dx=0.5, dim=0))
    agree(tn.cumulative_trapezoid(given(x)), torch.cumulative_trapezoid(x))
    with pytest.raises(ShapeError):
        tn.diff(tn.tensor(1.0))


# -- sorting ------------------------------------------------------------------------------------
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@pytest.mark.parametrize(("shape", "dim"), SHAPES, ids=str)
def test_sort(shape, dim, dtype, descending, count):
    x = few(shape, dtype)
    want = torch.sort(x, dim=dim, descending=descending, stable=True)
    got = tn.sort(given(x), dim, descending)
    agree(got, tuple(want))
    agree(tn.argsort(given(x), dim, descending), want.indices)
    count("ordering", "op x dtype x shape", 2)


def test_sort_puts_nan_last_and_is_a_named_tuple():
    x = torch.tensor([3.0, math.nan, -math.inf, 0.0, -0.0, math.inf, math.nan])
    for descending in (False, True):
        want = torch.sort(x, descending=descending, stable=True)
        got = given(x).sort(descending=descending)
        agree((got.values, got.indices), tuple(want))
    agree(tn.msort(given(distinct((4, 3)))), torch.msort(distinct((4, 3))))
    flags = torch.tensor([True, False, True])
    agree(given(flags).sort().values, flags.sort().values)


def test_sort_of_what_is_not_contiguous():
    x = distinct((6, 8))
    agree(given(x).T[::2].sort(1), tuple(x.T[::2].sort(1)))


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize(
    ("shape", "dim", "k"),
    [((7,), 0, 3), ((3, 5), 1, 2), ((3, 5), 0, 3), ((2, 9, 3), 1, 1), ((4,), 0, 0), ((), 0, 1)],
)
def test_topk(shape, dim, k, largest):
    x = distinct(shape)
    agree(given(x).topk(k, dim, largest), tuple(x.topk(k, dim, largest)))


def test_topk_refuses_too_many():
    with pytest.raises(ArgumentError):
        tn.topk(tn.ones(3), 4)
    with pytest.raises(ArgumentError):
        tn.kthvalue(tn.ones(3), 0)


def test_gradients_go_to_the_elements_chosen():
    x = distinct((4, 7), torch.float64)
    weights = [
        (lambda m, a: m.sort(a, 1).values), (lambda m, a: m.topk(a, 3, 0).values),
        (lambda m, a: m.kthvalue(a, 2, 1).values), (lambda m, a: m.median(a, 1).values),
        (lambda m, a: m.median(a)),
    ]  # fmt: skip
    for f in weights:
        gradients_agree(lambda a, f=f: f(tn, a), lambda a, f=f: f(torch, a), [x])


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize(("shape", "dim"), [s for s in SHAPES if 0 not in s[0]], ids=str)
def test_the_kth_and_the_middle(shape, dim, keepdim):
    x = distinct(shape)
    extent = shape[dim] if shape else 1
    for k in {1, (extent + 1) // 2, extent}:
        agree(tn.kthvalue(given(x), k, dim, keepdim), tuple(torch.kthvalue(x, k, dim, keepdim)))
    agree(tn.median(given(x), dim, keepdim), tuple(torch.median(x, dim, keepdim)))
    agree(tn.median(given(x)), torch.median(x))
    whole = distinct(shape, torch.int64)
    agree(tn.median(given(whole), dim, keepdim), tuple(torch.median(whole, dim, keepdim)))


def test_medians_and_nan():
    x = torch.tensor([[1.0, math.nan, 3.0, 0.0], [4.0, 2.0, 9.0, 7.0], [math.nan] * 4])
    agree(tn.median(given(x), 1).values, torch.median(x, 1).values)
    agree(tn.nanmedian(given(x[:2]), 1), tuple(torch.nanmedian(x[:2], 1)))
    agree(tn.nanmedian(given(x), 1).values, torch.nanmedian(x, 1).values)
    agree(tn.nanmedian(given(x)), torch.nanmedian(x))
    agree(tn.median(tn.zeros(0)), torch.median(torch.zeros(0)))
    with pytest.raises(ShapeError):
        tn.median(tn.zeros(2, 0), 1)


def test_mode():
    x = few((4, 9), torch.int64)
    got, want = tn.mode(given(x), 1), torch.mode(x, 1)
    agree(got.values, want.values)
    assert (x.gather(1, torch.tensor(got.indices.numpy())[:, None])[:, 0] == want.values).all()
    agree(tn.mode(given(x), 0, True).values, torch.mode(x, 0, True).values)


@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "nearest", "midpoint"])
def test_quantile(interpolation):
    x = distinct((4, 7)).square()
    x[2, 3] = math.nan
    for q in (0.0, 0.3, 0.5, 1.0, torch.tensor([0.1, 0.25, 0.9])):
        mine = given(q) if isinstance(q, torch.Tensor) else q
        for dim, keepdim in ((None, False), (None, True), (1, False), (0, True)):
            agree(
                tn.quantile(given(x), mine, dim, keepdim, interpolation=interpolation),
                torch.quantile(x, q, dim, keepdim, interpolation=interpolation),
            )


def test_quantile_refuses():
    with pytest.raises(ArgumentError):
        tn.quantile(tn.ones(3), 1.5)
    with pytest.raises(ArgumentError):
        tn.quantile(tn.ones(3), 0.5, interpolation="cubic")
    with pytest.raises(DTypeError):
        tn.quantile(tn.tensor([1, 2]), 0.5)


# -- searching ----------------------------------------------------------------------------------
@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("extent", [0, 1, 2, 7, 8, 100])
def test_searchsorted(extent, right):
    row = few((extent,)).sort().values
    values = torch.tensor([[-1.0, 0.0, 1.0, 1.5], [3.0, 2.0, 9.0, math.nan]])
    agree(
        tn.searchsorted(given(row), given(values), right=right),
        torch.searchsorted(row, values, right=right),
    )
    agree(
        tn.bucketize(given(values), given(row), right=right),
        torch.bucketize(values, row, right=right),
    )
    agree(tn.searchsorted(given(row), 1.0, right=right), torch.searchsorted(row, 1.0, right=right))


def test_searchsorted_rows_and_options():
    row, values = distinct((3, 6)).sort(1).values, distinct((3, 4)) + 0.5
    agree(tn.searchsorted(given(row), given(values)), torch.searchsorted(row, values))
    agree(
        tn.searchsorted(given(row), given(values), side="right", out_int32=True),
        torch.searchsorted(row, values, side="right", out_int32=True),
    )
    mixed = distinct((6,), torch.int64)
    order = mixed.argsort()
    agree(
        tn.searchsorted(given(mixed), given(values.long()), sorter=given(order)),
        torch.searchsorted(mixed, values.long(), sorter=order),
    )
    with pytest.raises(ShapeError):
        tn.searchsorted(given(row), given(values[:2]))
    with pytest.raises(ArgumentError):
        tn.searchsorted(given(row), given(values), side="middle")


# -- counting -----------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [*NUMBERS, torch.bool], ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (9,), (3, 5), (0,), (2, 0)], ids=str)
def test_unique(shape, dtype, count):
    x = few(shape, dtype)
    want = torch.unique(x, return_inverse=True, return_counts=True)
    agree(tn.unique(given(x), return_inverse=True, return_counts=True), want)
    agree(tn.unique(given(x)), want[0])
    want = torch.unique_consecutive(x, return_inverse=True, return_counts=True)
    agree(tn.unique_consecutive(given(x), return_inverse=True, return_counts=True), want)
    count("ordering", "op x dtype x shape", 2)


def test_unique_slices_and_nan():
    x = few((6, 2))
    for dim in (0, 1):
        agree(
            tn.unique(given(x), return_inverse=True, return_counts=True, dim=dim),
            torch.unique(x, return_inverse=True, return_counts=True, dim=dim),
        )
        agree(
            tn.unique_consecutive(given(x), return_inverse=True, return_counts=True, dim=dim),
            torch.unique_consecutive(x, return_inverse=True, return_counts=True, dim=dim),
        )
    y = torch.tensor([math.nan, 1.0, math.nan])
    agree(tn.unique(given(y)), torch.unique(y))


@pytest.mark.parametrize("dtype", [*NUMBERS, torch.bool], ids=str)
@pytest.mark.parametrize("shape", [(), (9,), (3, 5), (0,), (2, 0, 3), (2, 2, 2)], ids=str)
def test_nonzero(shape, dtype, count):
    x = few(shape, dtype)
    agree(tn.nonzero(given(x)), torch.nonzero(x))
    agree(tn.argwhere(given(x)), torch.argwhere(x))
    agree(tn.nonzero(given(x), as_tuple=True), torch.nonzero(x, as_tuple=True))
    agree(tn.where(given(x)), torch.where(x))
    count("ordering", "op x dtype x shape", 4)


def test_bincount():
    x = few((20,), torch.int64)
    for extra in ({}, {"minlength": 9}, {"minlength": 2}):
        agree(tn.bincount(given(x), **extra), torch.bincount(x, **extra))
        for dtype in (torch.float32, torch.float64, torch.int32):
            w = (distinct((20,)) / 4).to(dtype)
            agree(tn.bincount(given(x), given(w), **extra), torch.bincount(x, w, **extra))
    empty = torch.zeros(0, dtype=torch.int64)
    agree(tn.bincount(given(empty)), torch.bincount(empty))
    agree(tn.bincount(given(empty), minlength=3), torch.bincount(empty, minlength=3))
    for bad in (tn.tensor([-1, 2]), tn.ones(3), tn.ones(2, 2, dtype=tn.int64)):
        with pytest.raises(ArgumentError):
            tn.bincount(bad)
    with pytest.raises(ShapeError):
        tn.bincount(given(x), tn.ones(3))


def test_histc_and_isin():
    x = distinct((40,)) / 7
    for options in ({}, {"bins": 4}, {"bins": 5, "min": -1, "max": 2}):
        agree(tn.histc(given(x), **options), torch.histc(x, **options))
    agree(tn.histc(tn.ones(3), 2), torch.histc(torch.ones(3), 2))
    with pytest.raises(ArgumentError):
        tn.histc(given(x), 3, 2, 1)
    a, b = few((3, 4), torch.int64), torch.tensor([1, 3])
    agree(tn.isin(given(a), given(b)), torch.isin(a, b))
    agree(tn.isin(given(a), given(b), invert=True), torch.isin(a, b, invert=True))
    agree(tn.isin(given(a), 2), torch.isin(a, 2))


def test_results_are_their_own():
    """A slice of an order must not keep, or show later writes to, the whole order."""
    x = tn.tensor([3.0, 1.0, 2.0])
    values, indices = x.topk(2)
    x.zero_()
    agree(values, torch.tensor([3.0, 2.0]))
    assert values.base is None
    assert indices.base is None
    assert name(torch.int64) == indices.dtype.name
    assert np.array_equal(indices.numpy(), [0, 2])
