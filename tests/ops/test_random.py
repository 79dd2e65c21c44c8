"""Random numbers: streams that repeat, distributions that are right, programs that replay."""

import math
import threading

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, DTypeError, GradientError, ShapeError
from tests.ops.oracle import name

FLOATS = (tn.float32, tn.float64, tn.float16, tn.bfloat16)
COUNT = 40000


@pytest.fixture(autouse=True)
def seeded():
    tn.manual_seed(1234)


def values(x):
    return x.detach().to(tn.float64).numpy()


def fits(sample, cdf):
    """Compare a sample with a distribution: Kolmogorov's statistic, at one in ten million."""
    x = np.sort(sample)
    n = len(x)
    expected = cdf(x)
    steps = np.arange(1, n + 1) / n
    gap = max(np.abs(steps - expected).max(), np.abs(steps - 1 / n - expected).max())
    assert gap < 2.9 / math.sqrt(n), gap


def gauss(x):
    return torch.special.ndtr(torch.tensor(x)).numpy()


# -- streams ------------------------------------------------------------------------------------
def test_philox_is_the_papers():
    """The published test vector of counter 0, key 0."""
    bits = tn.rand(4, generator=tn.Generator().manual_seed(0), dtype=tn.float32)
    words = np.array([0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8], np.uint64)
    assert (values(bits) == (words >> np.uint64(8)) * 2.0**-24).all()


def test_a_seed_gives_its_numbers_again():
    first = [tn.rand(3), tn.randn(5), tn.randint(0, 10, (4,)), tn.randperm(6)]
    tn.manual_seed(1234)
    again = [tn.rand(3), tn.randn(5), tn.randint(0, 10, (4,)), tn.randperm(6)]
    for a, b in zip(first, again, strict=True):
        assert (a == b).all()
    tn.manual_seed(1235)
    assert not (tn.rand(3) == first[0]).all()


def test_calls_give_different_numbers():
    a, b = tn.rand(1000), tn.rand(1000)
    assert len(np.intersect1d(values(a), values(b))) < 5
    both = tn.stack([tn.rand(7), tn.rand(7), tn.randn(7)])
    assert len(np.unique(values(both))) == 21


def test_numbers_do_not_depend_on_when_they_are_looked_at():
    a, b = tn.rand(5), tn.rand(5)
    late = values(b), values(a)
    tn.manual_seed(1234)
    a = values(tn.rand(5))
    assert (a == late[1]).all()
    assert (values(tn.rand(5)) == late[0]).all()


def test_states_can_be_kept():
    tn.rand(10)
    state = tn.get_rng_state()
    assert name(torch.uint8) == state.dtype.name
    first = values(tn.rand(5))
    tn.set_rng_state(state)
    assert (values(tn.rand(5)) == first).all()
    with pytest.raises(ArgumentError):
        tn.set_rng_state(tn.zeros(16))


def test_generators_are_apart():
    a, b = tn.Generator().manual_seed(7), tn.Generator("cpu").manual_seed(7)
    expected = values(tn.rand(4, generator=a))
    values(tn.rand(100))
    assert (values(tn.rand(4, generator=b)) == expected).all()
    assert a.initial_seed() == 7
    c = a.clone_state()
    assert (values(tn.randn(4, generator=a)) == values(tn.randn(4, generator=c))).all()
    assert tn.manual_seed(5) is tn.default_generator
    assert tn.initial_seed() == 5
    assert tn.seed() == tn.initial_seed()
    assert tn.manual_seed(-1).initial_seed() == tn.manual_seed(2**64 - 1).initial_seed()


def test_scripts_may_ask_for_devices():
    assert not tn.cuda.is_available()
    assert tn.cuda.device_count() == 0
    tn.cuda.manual_seed_all(9)
    assert tn.initial_seed() == 9
    assert not tn.ones(1).is_cuda


def test_threads_take_different_blocks():
    found = []

    def draw():
        found.append(values(tn.rand(4000)))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len({tuple(f[:8]) for f in found}) == 4


# -- shapes, dtypes, ranges ---------------------------------------------------------------------
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 4), (0,), (2, 0, 3), (2, 3, 5)], ids=str)
def test_shapes_and_dtypes(shape, dtype, count):
    for make in (tn.rand, tn.randn):
        forms = [(shape,), shape] if shape else [(shape,)]
        for x in [make(*form, dtype=dtype) for form in forms]:
            assert tuple(x.shape) == shape
            assert x.dtype is dtype
            assert np.isfinite(values(x)).all()
            count("random", "distribution x dtype x shape")
    like = tn.zeros(shape, dtype=dtype)
    assert tn.rand_like(like).dtype is dtype
    assert tn.randn_like(like, dtype=tn.float64).dtype is tn.float64
    assert tuple(tn.randint_like(like, 3, 9).shape) == shape
    assert tn.randint_like(like, 3, 9).dtype is dtype


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_rand_is_even_and_below_one(dtype):
    x = values(tn.rand(COUNT, dtype=dtype))
    assert x.min() >= 0
    assert x.max() < 1
    bits = {tn.float16: 11, tn.bfloat16: 8}.get(dtype)
    if bits is None:
        fits(x, lambda v: v)
    else:
        fits(x + np.random.default_rng(0).random(COUNT) * 2.0**-bits, lambda v: v)
    assert abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 0.03


@pytest.mark.parametrize("dtype", FLOATS[:2], ids=str)
def test_randn_is_normal(dtype):
    x = values(tn.randn(COUNT, dtype=dtype))
    fits(x, gauss)
    assert abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 0.03
    assert 3.5 < np.abs(x).max() < 6.8


def test_normal_takes_means_and_deviations():
    mean = tn.linspace(-5, 5, COUNT)
    x = tn.normal(mean, 2.0)
    fits((values(x) - values(mean)) / 2, gauss)
    x = tn.normal(3.0, tn.full((COUNT,), 0.5))
    fits((values(x) - 3) * 2, gauss)
    fits((values(tn.normal(1.0, 3.0, (COUNT,))) - 1) / 3, gauss)
    assert tuple(tn.normal(tn.zeros(3, 1), tn.ones(4)).shape) == (3, 4)
    with pytest.raises(ArgumentError):
        tn.normal(0.0, 1.0)
    with pytest.raises(ArgumentError):
        tn.normal(0.0, -1.0, (2,))


RANGES = [
    (0, 1), (0, 2), (-3, 7), (5, 1000), (0, 2**31), (-(2**63), 2**63 - 1), (0, 2**40)
]  # fmt: skip


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_randint(low, high):
    x = tn.randint(low, high, (COUNT,)).numpy()
    assert x.dtype == np.int64
    assert x.min() >= low
    assert x.max() < high
    span = high - low
    if span <= 1000:
        assert len(np.unique(x)) == span
        counts = np.bincount(x - low, minlength=span)
        chi = ((counts - COUNT / span) ** 2 / (COUNT / span)).sum()
        assert chi < span + 6 * math.sqrt(2 * span) + 10
    else:
        fits((x.astype(np.float64) - low) / span, lambda v: v)


def test_randint_forms_and_dtypes():
    assert tuple(tn.randint(10, (2, 3)).shape) == (2, 3)
    assert tuple(tn.randint(high=10, size=(4,)).shape) == (4,)
    assert tn.randint(0, 10, (4,), dtype=tn.uint8).dtype is tn.uint8
    assert tn.randint(0, 10, (4,), dtype=tn.float32).dtype is tn.float32
    for bad in ((5, 5, (2,)), (5, 2, (2,))):
        with pytest.raises(ArgumentError):
            tn.randint(*bad)
    with pytest.raises(ArgumentError):
        tn.randint(5)


def test_randperm_is_a_permutation_each_as_likely():
    assert (np.sort(tn.randperm(1000).numpy()) == np.arange(1000)).all()
    assert tn.randperm(5, dtype=tn.int32).dtype is tn.int32
    assert tn.randperm(0).numel() == 0
    seen = [tuple(tn.randperm(3).tolist()) for _ in range(600)]
    counts = [seen.count(p) for p in set(seen)]
    assert len(counts) == 6
    assert min(counts) > 60


def test_refusals():
    for make in (tn.rand, tn.randn):
        with pytest.raises(DTypeError):
            make(3, dtype=tn.int64)
        with pytest.raises(ShapeError):
            make(-1)


def test_gradients_may_be_asked_for():
    x = tn.randn(3, requires_grad=True)
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


# -- draws --------------------------------------------------------------------------------------
def test_bernoulli():
    p = tn.linspace(0, 1, COUNT)
    x = tn.bernoulli(p)
    assert x.dtype is tn.float32
    assert set(np.unique(values(x))) == {0, 1}
    assert abs(values(x).mean() - 0.5) < 0.02
    assert values(x[: COUNT // 4]).mean() < 0.15
    for certain in (0.0, 1.0):
        assert (values(tn.bernoulli(tn.zeros(1000), certain)) == certain).all()
        assert (values(tn.zeros(1000).bernoulli_(certain)) == certain).all()
    mask = tn.bernoulli_mask((COUNT,), 0.3)
    assert mask.dtype is tn.bool
    assert abs(values(mask).mean() - 0.3) < 0.02
    whole = tn.zeros(COUNT, dtype=tn.int64).bernoulli_(0.25)
    assert abs(values(whole).mean() - 0.25) < 0.02
    assert tuple(tn.zeros(3, 4).bernoulli_(tn.ones(4)).sum(0).tolist()) == (3, 3, 3, 3)
    with pytest.raises(DTypeError):
        tn.bernoulli(tn.tensor([0, 1]))


@pytest.mark.parametrize("dtype", [tn.float32, tn.float64], ids=str)
def test_multinomial_with_replacement(dtype):
    weights = tn.tensor([0.0, 1.0, 3.0, 0.0, 4.0, 0.0], dtype=dtype)
    x = tn.multinomial(weights, COUNT, replacement=True)
    assert x.dtype is tn.int64
    share = np.bincount(x.numpy(), minlength=6) / COUNT
    np.testing.assert_allclose(share, [0, 1 / 8, 3 / 8, 0, 1 / 2, 0], atol=0.015)
    assert (share[[0, 3, 5]] == 0).all()
    rows = tn.multinomial(tn.tensor([[1.0, 0.0], [0.0, 1.0]]), 5, replacement=True)
    assert rows.tolist() == [[0] * 5, [1] * 5]


def test_multinomial_without_replacement():
    weights = tn.tensor([1.0, 2.0, 0.0, 5.0]).expand(4000, 4)
    x = tn.multinomial(weights, 3).numpy()
    assert (np.sort(x, 1) == [0, 1, 3]).all()
    first = np.bincount(x[:, 0], minlength=4) / 4000
    np.testing.assert_allclose(first, [1 / 8, 1 / 4, 0, 5 / 8], atol=0.04)
    assert sorted(tn.multinomial(tn.ones(50), 50).tolist()) == list(range(50))


@pytest.mark.parametrize(
    ("weights", "draws", "error"),
    [
        ([0.0, 0.0], 1, ArgumentError), ([-1.0, 2.0], 1, ArgumentError),
        ([math.nan, 1.0], 1, ArgumentError), ([1.0, 2.0], 3, ArgumentError),
        ([1.0, 0.0], 2, ArgumentError), ([1.0], 0, ArgumentError), (1.0, 1, ShapeError),
        ([1, 2], 1, DTypeError),
    ],
)  # fmt: skip
def test_multinomial_refuses(weights, draws, error):
    with pytest.raises(error):
        tn.multinomial(tn.tensor(weights), draws)


# -- in place -----------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_in_place(dtype):
    x = tn.zeros(COUNT, dtype=dtype)
    assert x.uniform_(-2, 3) is x
    assert x.dtype is dtype
    assert values(x).min() >= -2
    assert values(x).max() <= 3
    assert abs(values(x).mean() - 0.5) < 0.05
    assert abs(values(x.normal_(1, 2)).std() - 2) < 0.05
    assert abs(values(x.exponential_(4)).mean() - 0.25) < 0.01
    assert values(x).min() > 0
    if dtype in (tn.float32, tn.float64):
        fits(values(x), lambda v: 1 - np.exp(-4 * v))
        fits(values(x.uniform_(to=2.0)) / 2, lambda v: v)


def test_random_in_place():
    x = tn.zeros(COUNT, dtype=tn.uint8).random_()
    assert len(np.unique(x.numpy())) == 256
    assert set(np.unique(tn.zeros(200).random_(3).numpy())) == {0, 1, 2}
    assert set(np.unique(tn.zeros(200, dtype=tn.int64).random_(5, 7).numpy())) == {5, 6}
    assert set(np.unique(tn.zeros(200, dtype=tn.bool).random_().numpy())) == {False, True}
    big = tn.zeros(COUNT, dtype=tn.int64).random_().numpy()
    assert big.min() >= 0
    assert big.max() > 2**62
    assert tn.zeros(COUNT).random_().max().item() <= 2**24


def test_other_distributions():
    x = values(tn.zeros(COUNT, dtype=tn.float64).log_normal_(0.5, 0.25))
    fits((np.log(x) - 0.5) / 0.25, gauss)
    x = values(tn.zeros(COUNT, dtype=tn.float64).cauchy_(1.0, 2.0))
    fits((x - 1) / 2, lambda v: np.arctan(v) / np.pi + 0.5)
    x = tn.zeros(COUNT, dtype=tn.int64).geometric_(0.3).numpy()
    assert x.min() == 1
    assert abs(x.mean() - 1 / 0.3) < 0.06
    assert abs((x == 1).mean() - 0.3) < 0.015
    for call in (
        lambda x: x.log_normal_(std=0),
        lambda x: x.cauchy_(sigma=0),
        lambda x: x.geometric_(1.0),
    ):
        with pytest.raises(ArgumentError):
            call(tn.zeros(2))


def test_in_place_writes_through_views_and_minds_gradients():
    x = tn.zeros(4, 4)
    x[1:3].uniform_(1, 2)
    assert (x[0] == 0).all()
    assert (x[1:3] >= 1).all()
    w = tn.zeros(3, requires_grad=True)
    with pytest.raises(GradientError):
        w.normal_()
    with tn.no_grad():
        w.normal_()
    assert w.requires_grad
    assert (w != 0).all()


def test_in_place_refuses():
    for call in ("uniform_", "normal_", "exponential_"):
        with pytest.raises(DTypeError):
            getattr(tn.zeros(2, dtype=tn.int64), call)()
    with pytest.raises(ArgumentError):
        tn.zeros(2).uniform_(2, 1)
    with pytest.raises(ArgumentError):
        tn.zeros(2).normal_(0, -1)
    with pytest.raises(ArgumentError):
        tn.zeros(2).exponential_(0)
    with pytest.raises(ArgumentError):
        tn.zeros(2).uniform_(upto=1)


# -- replay -------------------------------------------------------------------------------------
def test_a_replayed_program_gets_fresh_numbers():
    @tn.compile
    def f(x):
        return x + tn.rand(4), tn.randn(3)

    seen = [tuple(np.concatenate([values(v) for v in f(tn.zeros(4))])) for _ in range(4)]
    assert len({v for row in seen for v in row}) == 28


def test_compiled_and_plain_draw_the_same():
    def f(x):
        return x + tn.rand(4) * tn.bernoulli_mask((4,), 0.5)

    compiled = tn.compile(f)
    plain = [values(f(tn.zeros(4))) for _ in range(3)]
    tn.manual_seed(1234)
    again = [values(compiled(tn.zeros(4))) for _ in range(3)]
    assert np.array_equal(plain, again)


def test_seeding_reaches_a_compiled_program():
    @tn.compile
    def f():
        return tn.rand(4)

    f()
    tn.manual_seed(3)
    a = values(f())
    tn.manual_seed(3)
    assert (values(f()) == a).all()
    tn.manual_seed(3)
    assert (values(tn.rand(4)) == a).all()
