"""Compositions of primitives: special functions, statistics, parts, against PyTorch."""

import math

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, DTypeError, ShapeError
from tests.ops.oracle import agree, given, gradients_agree

POINTS = np.concatenate(
    [np.linspace(-4, 4, 161), [0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-30, 1e30, -1e30, 1e-8]]
)
GRID = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 3, -2.5, 1e-20, 1e20])
ONE = ["asin", "acos", "atan", "asinh", "acosh", "atanh", "sinc", "deg2rad", "rad2deg", "erfinv",
       "sgn", "isposinf", "isneginf", "isreal", "fix", "positive"]  # fmt: skip
TWO = ["atan2", "hypot", "copysign", "fmax", "fmin", "xlogy", "logaddexp2"]
SMOOTH = ["asin", "acos", "atan", "asinh", "atanh", "erfinv", "sinc", "acosh"]
ULPS = {torch.float32: 1.0, torch.float64: 4.0}


def close(got, want, ulps):
    """Compare within units in the last place, infinities and NaN exactly."""
    a, b = got.detach().numpy(), want.detach().numpy()
    assert a.dtype == b.dtype
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(all="ignore"):
        gap = np.abs(a - b) / np.spacing(np.abs(b))
    assert (same | (gap <= ulps + 0.5)).all(), (a[~same & ~(gap <= ulps + 0.5)], b[~same])


@pytest.mark.parametrize("dtype", ULPS, ids=str)
@pytest.mark.parametrize("name", ONE)
def test_functions_of_one(name, dtype, count):
    x = torch.tensor(POINTS, dtype=dtype)
    if name == "sgn":  # the sign of NaN is NaN here, as in NumPy, and 0 in PyTorch
        x = x[~x.isnan()]
    got, want = getattr(tn, name)(given(x)), getattr(torch, name)(x)
    if want.dtype is torch.bool:
        agree(got, want)
    else:
        exact = getattr(torch, name)(x.double()).to(dtype)
        # PyTorch's own float64 erfinv and sinc are some units off.
        loose = dtype is torch.float64 and name in ("erfinv", "sinc")
        close(got, exact, 64 if loose else ULPS[dtype])
    agree(getattr(given(x), name)(), want, 1e-5)
    count("special", "op x dtype")


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_of_one(name):
    inside = np.array([-0.99, -0.5, -1e-6, 0.0, 1e-6, 0.3, 0.7, 0.999])
    x = torch.tensor(inside + 2 if name == "acosh" else inside)
    gradients_agree(getattr(tn, name), getattr(torch, name), [x], 1e-6)
    if name in ("asin", "acos", "atanh"):
        edge = torch.tensor([1.0, -1.0], dtype=torch.float64, requires_grad=True)
        mine = given(edge)
        getattr(tn, name)(mine).backward(tn.ones(2, dtype=tn.float64))
        getattr(torch, name)(edge).backward(torch.ones(2, dtype=torch.float64))
        agree(mine.grad, edge.grad)


@pytest.mark.parametrize("dtype", ULPS, ids=str)
@pytest.mark.parametrize("name", TWO)
def test_functions_of_two(name, dtype, count):
    a, b = (torch.tensor(v.copy(), dtype=dtype) for v in np.meshgrid(GRID, GRID))
    if name == "logaddexp2":
        a, b = (torch.where(v.abs() > 5, v.sign() * 5, v) for v in (a, b))
        agree(tn.logaddexp2(given(a), given(b)), torch.logaddexp2(a, b), 1e-6)
        return
    close(getattr(tn, name)(given(a), given(b)), getattr(torch, name)(a, b), 2)
    count("special", "op x dtype")


@pytest.mark.parametrize("name", ["atan2", "hypot", "xlogy", "logaddexp2", "fmax"])
def test_gradients_of_two(name):
    a = torch.tensor([0.5, -1.0, 2.0, 3.0], dtype=torch.float64)
    b = torch.tensor([1.5, 2.0, 0.3, 2.5], dtype=torch.float64)
    gradients_agree(getattr(tn, name), getattr(torch, name), [a, b], 1e-9)


@pytest.mark.parametrize("dtype", ULPS, ids=str)
@pytest.mark.parametrize("name", ["lgamma", "digamma"])
def test_gamma(name, dtype):
    corners = [0.0, -0.0, -1.0, 1e-20, 1e10, 1e30, np.inf, np.nan, 1.0, 2.0]
    x = torch.tensor(np.concatenate([np.linspace(-6.3, 40, 401), corners]), dtype=dtype)
    want = getattr(torch, name)(x)
    agree(getattr(tn, name)(given(x)), want, 2e-6 if dtype is torch.float32 else 1e-12)
    inner = torch.tensor([0.1, 0.7, 1.0, 1.5, 2.0, 9.9, 10.1, 30.0, -0.3, -2.6])
    gradients_agree(getattr(tn, name), getattr(torch, name), [inner.double()], 1e-9)


def test_small_variants():
    x = torch.tensor([-2.0, 0.5, 3.0])
    whole = torch.tensor([1, 5, 8])
    agree(tn.clamp_min(given(x), 0.0), x.clamp_min(0))
    agree(tn.clamp_max(given(x), 1.0), x.clamp_max(1))
    agree(tn.rsub(given(x), 1.0, alpha=2), torch.rsub(x, 1.0, alpha=2))
    agree(tn.float_power(given(x), 2), torch.float_power(x, 2))
    agree(tn.ldexp(given(x), given(whole)), torch.ldexp(x, whole))
    agree(tn.bitwise_left_shift(given(whole), 2), torch.bitwise_left_shift(whole, 2))
    agree(tn.bitwise_right_shift(given(whole), 1), torch.bitwise_right_shift(whole, 1))
    assert tn.signbit(tn.tensor([-1.0, -0.0, 0.0, 2.0])).tolist() == [True, True, False, False]
    agree(tn.atan(given(whole)), torch.atan(whole))
    agree(given(x).atan_(), x.clone().atan_(), 1e-6)
    agree(tn.copysign(given(x), -1.0), torch.copysign(x, -1.0))
    agree(tn.xlogy(given(x), 2.0), torch.xlogy(x, 2.0), 1e-6)


# -- statistics ---------------------------------------------------------------------------------
def sample(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


DIMS = [(None, False), (0, True), ((0, 1), False), (-1, False)]


@pytest.mark.parametrize(("dim", "keepdim"), DIMS)
def test_sums_that_pass_over_nan(dim, keepdim):
    x = sample(3, 4)
    x[1, 2] = x[0, 0] = math.nan
    x[:, 3] = math.nan
    agree(tn.nansum(given(x), dim, keepdim), torch.nansum(x, dim, keepdim))
    agree(tn.nanmean(given(x), dim, keepdim), torch.nanmean(x, dim, keepdim))


def test_covariances():
    x = sample(3, 8)
    often, much = torch.arange(1, 9), torch.rand(8, dtype=torch.float64)
    for options in ({}, {"correction": 0}):
        agree(tn.cov(given(x), **options), torch.cov(x, **options), 1e-10)
    assert tn.cov(given(x), correction=9).isinf().all()
    agree(tn.cov(given(x), fweights=given(often)), torch.cov(x, fweights=often), 1e-10)
    agree(tn.cov(given(x), aweights=given(much)), torch.cov(x, aweights=much), 1e-10)
    agree(
        tn.cov(given(x), fweights=given(often), aweights=given(much)),
        torch.cov(x, fweights=often, aweights=much),
        1e-10,
    )
    agree(tn.cov(given(x[0])), torch.cov(x[0]), 1e-10)
    agree(tn.corrcoef(given(x)), torch.corrcoef(x), 1e-10)
    agree(tn.corrcoef(given(x[0])), torch.corrcoef(x[0]), 1e-10)
    with pytest.raises(ShapeError):
        tn.cov(tn.ones(2, 2, 2))
    with pytest.raises(ShapeError):
        tn.cov(given(x), fweights=tn.ones(3))


def test_distances_and_renorm():
    x, y = sample(3, 4), sample(4, 3).T
    for p in (0.0, 1.0, 2.0, 3.0, math.inf):
        agree(tn.dist(given(x), given(y), p), torch.dist(x, y, p))
    for p, dim in ((1.0, 0), (2.0, 1)):
        agree(tn.renorm(given(x), p, dim, 0.7), torch.renorm(x, p, dim, 0.7), 1e-6)


# -- parts --------------------------------------------------------------------------------------
def test_parts_and_joins():
    x = sample(4, 6, 2)
    for name, sections in (("hsplit", 3), ("hsplit", [1, 4]), ("vsplit", 2), ("dsplit", 2)):
        agree(getattr(tn, name)(given(x), sections), getattr(torch, name)(x, sections))
    agree(tn.hsplit(given(x[0, :, 0]), 2), torch.hsplit(x[0, :, 0], 2))
    agree(tn.split_with_sizes(given(x), [1, 3], 0), torch.split_with_sizes(x, [1, 3], 0))
    for bad in (
        lambda: tn.hsplit(given(x), 4),
        lambda: tn.vsplit(tn.ones(4), 2),
        lambda: tn.dsplit(tn.ones(4, 4), 2),
    ):
        with pytest.raises(ShapeError):
            bad()
    a, b = sample(3), sample(6)[3:]
    for name in ("dstack", "column_stack", "row_stack", "hstack", "vstack"):
        agree(getattr(tn, name)([given(a), given(b)]), getattr(torch, name)([a, b]))
        agree(getattr(tn, name)([given(x), given(x)]), getattr(torch, name)([x, x]))
    agree(tn.cartesian_prod(given(a), given(b[:2])), torch.cartesian_prod(a, b[:2]))
    agree(tn.cartesian_prod(given(a)), torch.cartesian_prod(a))
    for r, again in ((2, False), (2, True), (3, False), (4, False), (1, False)):
        agree(tn.combinations(given(a), r, again), torch.combinations(a, r, again))


@pytest.mark.parametrize("offset", [-2, 0, 1, 3])
def test_triangles_and_diagonals(offset):
    for shape in ((3, 4), (4, 3), (0, 3), (1, 1)):
        agree(tn.tril_indices(*shape, offset), torch.tril_indices(*shape, offset))
        agree(
            tn.triu_indices(*shape, offset, dtype=tn.int32),
            torch.triu_indices(*shape, offset, dtype=torch.int32),
        )
    x = sample(2, 3)
    agree(tn.diagflat(given(x), offset), torch.diagflat(x, offset))
    for dims in ((-2, -1), (0, 1), (0, -1), (-1, -2)):
        agree(tn.diag_embed(given(x), offset, *dims), torch.diag_embed(x, offset, *dims))
    gradients_agree(lambda a: tn.diag_embed(a, offset), lambda a: torch.diag_embed(a, offset), [x])
    y = sample(4, 5)
    for name in ("tril", "triu", "diag", "diagonal"):
        agree(getattr(tn, name)(given(y), offset), getattr(torch, name)(y, offset))


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("shape", [(3, 3), (7, 3), (3, 7), (3, 3, 3)])
def test_filling_a_diagonal(shape, wrap):
    x = torch.zeros(shape)
    agree(given(x).fill_diagonal_(2.0, wrap), x.clone().fill_diagonal_(2.0, wrap))
    with pytest.raises(ShapeError):
        tn.zeros(3).fill_diagonal_(1.0)


def test_questions():
    assert tn.is_nonzero(tn.tensor(2))
    assert not tn.tensor([0.0]).is_nonzero()
    assert tn.ones(1).is_signed()
    assert not tn.ones(1, dtype=tn.uint8).is_signed()
    assert tn.is_same_size(tn.ones(2, 3), tn.zeros(2, 3))
    with pytest.raises(ArgumentError):
        tn.is_nonzero(tn.ones(2))


# -- autocast -----------------------------------------------------------------------------------
def test_autocast_takes_products_in_a_half():
    x, w = sample(4, 3).float(), sample(3, 5).float()
    a, b = given(x), given(w)
    with tn.autocast("cpu"), torch.autocast("cpu", torch.bfloat16):
        assert tn.is_autocast_enabled()
        agree(a @ b, x @ w)
        agree(tn.einsum("ij,jk->ik", a, b), torch.einsum("ij,jk->ik", x, w))
        agree(tn.addmm(tn.ones(5), a, b), torch.addmm(torch.ones(5), x, w))
        assert (a.double() @ b.double()).dtype is tn.float64
        assert (a + a).dtype is tn.float32
        assert (a @ b).softmax(0).dtype is tn.float32
        with tn.autocast("cpu", enabled=False):
            assert (a @ b).dtype is tn.float32
    assert not tn.is_autocast_enabled()
    assert (a @ b).dtype is tn.float32
    with tn.autocast("cpu", dtype=tn.float16):
        assert (a @ b).dtype is tn.float16
    with pytest.raises(DTypeError):
        tn.autocast("cpu", dtype=tn.float64)


def test_autocast_trains_float32_parameters():
    layer = tn.nn.Linear(3, 2)
    with tn.autocast("cpu"):
        out = layer(tn.ones(4, 3))
        assert out.dtype is tn.bfloat16
        out.float().sum().backward()
    assert layer.weight.grad.dtype is tn.float32
    agree(layer.weight.grad, torch.full((2, 3), 4.0))


def test_autocast_is_seen_by_what_is_compiled_and_by_macros():
    a = tn.ones(2, 2)
    f = tn.compile(lambda x: tn.nn.functional.linear(x, a))
    found = []
    for _ in range(2):
        found.append(f(a).dtype)
        found.append(tn.nn.functional.linear(a, a).dtype)
        with tn.autocast("cpu"):
            found.append(f(a).dtype)
            found.append(tn.nn.functional.linear(a, a).dtype)
    assert found == [tn.float32, tn.float32, tn.bfloat16, tn.bfloat16] * 2
