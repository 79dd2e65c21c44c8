"""Every function that folds dims away, in every dtype, shape and mode, against PyTorch."""

import math

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, AxisError, DTypeError, ShapeError
from tenor.tensor import reduction
from tests.ops.oracle import agree, given
from tests.ops.rows import ALL, INTS, Row, Sample, backwards, problems

PLAIN = lambda x: x  # noqa: E731
PLACES = {
    # label: shape, view, dims to fold
    "vector": ((7,), PLAIN, (0, -1, None)),
    "matrix": ((3, 5), PLAIN, (0, 1, None, (0, 1), (-1,))),
    "three dims": ((2, 3, 4), PLAIN, (0, 1, -1, (0, 2), (1, 2), None)),
    "no dims": ((), PLAIN, (0, -1, None)),
    "extent 1": ((1, 5), PLAIN, (0, None)),
    "odd and wide": ((5, 67), PLAIN, (0, 1)),
    "long": ((1003,), PLAIN, (0, None)),
    "transposed": ((4, 6), lambda x: x.mT, (0, 1, None)),
    "every other": ((3, 9), lambda x: x[..., 1::2], (0, 1, None)),
    "backwards": ((2, 5), backwards, (1, None)),
    "expanded": ((3, 1), lambda x: x.expand(3, 4), (1, None)),
}
EMPTY = {"no rows": ((0, 3), PLAIN, (0, 1, None)), "empty vector": ((0,), PLAIN, (0, None))}


def folds(
    call, *, domain="any", places=PLACES, several=True, without=True, whole=True, specials=True
):
    """Return samples of `call(m, x, dim, keepdim)`; dim None is left out unless `without`.

    With `whole` a reduction of all dims may keep them.
    """

    def samples(draw):
        for label in draw.some(tuple(places)):
            shape, view, dims = places[label]
            for dim in dims:
                if isinstance(dim, tuple) and not several:
                    continue
                if dim is None and not without:
                    continue
                for keepdim in (False, True):
                    if dim is None and keepdim and not whole:
                        continue
                    use = lambda m, x, v=view, d=dim, k=keepdim: call(m, v(x), d, k)  # noqa: E731
                    yield Sample(
                        f"{label}, dim={dim}, keepdim={keepdim}", (draw(shape, domain),), use
                    )
        if specials and draw.kind == "float":
            rows = draw.specials()[:9].reshape(3, 3)
            yield Sample("specials", (rows,), lambda m, x: call(m, x, 1, False))

    return samples


def reduced(name, **options):
    """Return the samples of a reduction of that name."""

    def call(m, x, dim, keepdim):
        if dim is None and not keepdim:
            return getattr(m, name)(x)
        return getattr(m, name)(x, dim=dim, keepdim=keepdim)

    return folds(call, places=PLACES | EMPTY, **options)


def several(*parts):
    return lambda draw: [sample for part in parts for sample in part(draw)]


def extreme(name):
    """Return the samples of max or min: of all, along a dim, of two tensors."""

    def call(m, x, dim, keepdim):
        f = getattr(m, name)
        if dim is None:
            return f(x)
        found = f(x, dim, keepdim=keepdim)
        return found.values, found.indices

    def two(draw):
        yield Sample("of two", (draw((3, 5)), draw((5,))), lambda m, a, b: getattr(m, name)(a, b))

    return several(folds(call, several=False, places=PLACES | EMPTY), two)


def position(name):
    def call(m, x, dim, keepdim):
        return getattr(m, name)(x, dim, keepdim)

    return folds(call, several=False, domain="few", places=PLACES | EMPTY)


def spread(name):
    """Return the samples of var, std and their kin with every way to say the correction."""

    def call(m, x, dim, keepdim):
        return getattr(m, name)(x, dim, keepdim=keepdim)

    def biased(m, x, dim, keepdim):
        return getattr(m, name)(x, dim, correction=0, keepdim=keepdim)

    def more(draw):
        yield Sample("all", (draw((3, 5)),), lambda m, x: getattr(m, name)(x))
        yield Sample("unbiased", (draw((3, 5)),), lambda m, x: getattr(m, name)(x, unbiased=False))
        yield Sample("a bool for a dim", (draw((3, 5)),), lambda m, x: getattr(m, name)(x, False))
        yield Sample("dim, unbiased", (draw((3, 5)),), lambda m, x: getattr(m, name)(x, 1, False))
        yield Sample(
            "correction 2", (draw((3, 5)),), lambda m, x: getattr(m, name)(x, 1, correction=2)
        )
        yield Sample("one element", (draw((1, 5)),), lambda m, x: getattr(m, name)(x, 0))

    return several(
        folds(call, places=PLACES | EMPTY, specials=False),
        folds(biased, specials=False, places={"matrix": PLACES["matrix"]}),
        more,
    )


def norms(draw):
    for p in ("fro", 2, 1, 0, 3, 0.5, math.inf, -math.inf):

        def call(m, x, dim, keepdim, p=p):
            return m.norm(x, p, dim, keepdim)

        places = {k: PLACES[k] for k in ("matrix", "no dims", "transposed")}
        for sample in folds(call, places=places, specials=p not in (0, 0.5, 3))(draw):
            yield sample._replace(label=f"p={p}, {sample.label}")
    yield Sample("default", (draw((3, 5)),), lambda m, x: x.norm())
    yield Sample("dtype", (draw((3, 5)),), lambda m, x: m.norm(x, dtype=m.float64))


def along(name):
    """Return the samples of softmax and log_softmax."""

    def samples(draw):
        for label, (shape, view, dims) in (PLACES | EMPTY).items():
            for dim in dims:
                if isinstance(dim, int):
                    use = lambda m, x, v=view, d=dim: getattr(m, name)(v(x), d)  # noqa: E731
                    yield Sample(f"{label}, dim={dim}", (draw(shape),), use)
        if draw.kind == "float":
            rows = torch.tensor(
                [[1e4, -1e4, 0], [math.inf, 0, 1], [-math.inf, 0, 1], [-math.inf] * 3]
            )
            yield Sample("extremes", (rows.to(draw.dtype),), lambda m, x: getattr(m, name)(x, 1))
        yield Sample("dtype", (draw((3, 5)),), lambda m, x: getattr(m, name)(x, 1, dtype=m.float64))

    return samples


def with_dtype(name):
    def samples(draw):
        for dtype in ("float64", "float32", "int32", "float16"):
            leaves = (draw((3, 5), "few"),)
            yield Sample(
                f"dtype={dtype}",
                leaves,
                lambda m, x, d=dtype: getattr(m, name)(x, dtype=getattr(m, d)),
            )
            yield Sample(
                f"dim, dtype={dtype}",
                leaves,
                lambda m, x, d=dtype: getattr(m, name)(x, 1, dtype=getattr(m, d)),
            )

    return samples


def quantified(name):
    def call(m, x, dim, keepdim):
        found = getattr(m, name)(x) if dim is None else getattr(m, name)(x, dim, keepdim)
        return found.to(m.bool)  # PyTorch answers uint8 for uint8

    return folds(call, domain="few", places=PLACES | EMPTY)


def count_nonzero(m, x, dim, keepdim):
    return m.count_nonzero(x, dim)


def aminmax(m, x, dim, keepdim):
    found = m.aminmax(x, keepdim=keepdim) if dim is None else m.aminmax(x, dim=dim, keepdim=keepdim)
    return found.min, found.max


HALF_SUMS = {"float64": 40, "float32": 40, "float16": 4, "bfloat16": 4}
ROWS = {
    "sum": Row(several(reduced("sum"), with_dtype("sum")), ulps=HALF_SUMS),
    "prod": Row(
        several(reduced("prod", several=False, whole=False, domain="unit"), with_dtype("prod")),
        ulps=60,
    ),
    "mean": Row(several(reduced("mean"), with_dtype("mean")), ulps=HALF_SUMS),
    "var": Row(spread("var"), ulps=20),
    "std": Row(spread("std"), ulps=20),
    "var_mean": Row(spread("var_mean"), ulps=20),
    "std_mean": Row(spread("std_mean"), ulps=20),
    "amax": Row(reduced("amax")),
    "amin": Row(reduced("amin")),
    "aminmax": Row(folds(aminmax, several=False, places=PLACES | EMPTY)),
    "max": Row(extreme("max")),
    "min": Row(extreme("min")),
    "argmax": Row(position("argmax"), takes=("bool",)),
    "argmin": Row(position("argmin"), takes=("bool",)),
    "any": Row(quantified("any")),
    "all": Row(quantified("all")),
    "count_nonzero": Row(folds(count_nonzero, domain="few", places=PLACES | EMPTY)),
    "norm": Row(norms, ulps=40, takes=(*INTS, "bool")),
    "logsumexp": Row(
        folds(lambda m, x, d, k: m.logsumexp(x, d, k), without=False, places=PLACES | EMPTY)
    ),
    "softmax": Row(along("softmax"), refuses=(*INTS, "bool")),
    "log_softmax": Row(along("log_softmax"), ulps=8, refuses=(*INTS, "bool")),
}


def test_every_function_has_a_row():
    assert set(ROWS) == {n for n in reduction.__all__ if n[0].islower()}


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("function", ROWS)
def test_values(function, dtype, count):
    found = problems(function, ROWS[function], dtype, count=count)
    assert not found, "\n".join(found[:12])


# -- what a table does not say -----------------------------------------------------------------
KEEPING = (
    "sum",
    "prod",
    "mean",
    "var",
    "std",
    "amax",
    "amin",
    "argmax",
    "argmin",
    "any",
    "all",
    "norm",
    "logsumexp",
)


@pytest.mark.parametrize("name", KEEPING)
def test_numpys_names_for_the_dim(name):
    x = tn.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]])
    want = getattr(x, name)(dim=1, keepdim=True)
    assert tn.equal(getattr(x, name)(axis=1, keepdims=True), want)
    assert tn.equal(getattr(tn, name)(x, axis=1, keepdims=True), want)


def test_numpys_names_where_results_are_several():
    x = tn.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]])
    for name in ("max", "min", "var_mean", "std_mean"):
        got, want = (
            getattr(tn, name)(x, axis=0, keepdims=True),
            getattr(tn, name)(x, dim=0, keepdim=True),
        )
        assert all(tn.equal(a, b) for a, b in zip(got, want, strict=True))
    assert tn.equal(tn.softmax(x, axis=0), tn.softmax(x, dim=0))
    assert tn.equal(tn.log_softmax(x, axis=0), tn.log_softmax(x, dim=0))
    assert tn.equal(tn.count_nonzero(x, axis=0), tn.count_nonzero(x, dim=0))


def test_results_have_names():
    x = tn.tensor([[3.0, 1.0], [2.0, 5.0]])
    assert x.max(1).values.tolist() == [3.0, 5.0]
    assert x.max(1).indices.tolist() == [0, 1]
    assert (x.aminmax().min.item(), x.aminmax().max.item()) == (1.0, 5.0)


def test_nan_wins_and_the_first_of_equal_ones():
    x = torch.tensor([[1.0, math.nan, 3.0, math.nan], [2.0, 2.0, 0.0, 0.0]])
    for name in ("amax", "amin"):
        agree(getattr(tn, name)(given(x), 1), getattr(torch, name)(x, 1))
    for name in ("max", "min"):
        agree(tuple(getattr(tn, name)(given(x), 1)), tuple(getattr(torch, name)(x, 1)))
    for name in ("argmax", "argmin"):
        agree(getattr(tn, name)(given(x), 1), getattr(torch, name)(x, 1))


def test_long_sums_stay_accurate():
    """float32 sums are added up in parts, not one by one; halves in float32."""
    x = np.random.default_rng(0).random(1_000_003).astype(np.float32)
    exact = x.astype(np.float64).sum()
    assert abs(tn.tensor(x).sum().item() - exact) / exact < 2e-6
    assert abs(tn.tensor(x).mean().item() - exact / x.size) < 2e-6
    ones = tn.ones(70_000, dtype=tn.float16)
    assert ones.mean().item() == 1.0
    assert ones.sum(dtype=tn.float32).item() == 70_000.0
    assert tn.ones(5_000, dtype=tn.bfloat16).sum().item() == 4992.0  # the bfloat16 nearest to 5000
    assert abs(tn.tensor(x + 1e4).var().item() - (x.astype(np.float64) + 1e4).var()) < 1e-4


def test_softmax_of_large_numbers_sums_to_one():
    x = tn.tensor([[1e30, 1e30, -1e30], [-1e38, -1e38, -1e38], [88.0, 89.0, 90.0]])
    assert np.allclose(x.softmax(-1).sum(-1).numpy(), 1.0)
    assert np.isfinite(x[2:].log_softmax(-1).numpy()).all()


ERRORS = (
    (lambda x: x.sum(2), AxisError, ("sum", "[-2, 2)", "dim 2")),
    (lambda x: x.sum((0, 0)), ArgumentError, ("named once",)),
    (lambda x: x.sum(0.5), ArgumentError, ("dim must be an integer", "0.5")),
    (lambda x: x.long().mean(), DTypeError, ("mean", "int64", "float")),
    (lambda x: x.long().var(), DTypeError, ("var", "int64")),
    (lambda x: x.long().norm(), DTypeError, ("norm", "int64")),
    (lambda x: x.norm("nuc"), ArgumentError, ("norm", "'nuc'")),
    (lambda x: x.softmax(), ArgumentError, ("softmax", "dim=-1")),
    (lambda x: x.long().softmax(0), DTypeError, ("softmax", "int64")),
    (lambda x: tn.ones(0, 3).max(), ShapeError, ("max",)),
    (lambda x: tn.ones(0, 3).amax(0), ShapeError, ("amax",)),
    (lambda x: tn.ones(0, 3).max(0), ShapeError, ("max",)),
    (lambda x: tn.ones(0).argmin(), ShapeError, ("argmin",)),
)


@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors_say_what_was_wanted_what_came_and_what_to_do(case):
    call, kind, words = ERRORS[case]
    with pytest.raises(kind) as caught:
        call(tn.ones(2, 3))
    for word in words:
        assert word in str(caught.value)
    assert "fix:" in str(caught.value)
