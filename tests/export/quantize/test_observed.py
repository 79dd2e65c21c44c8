"""Ranges and histograms against NumPy's, however the values are cut into batches."""

import numpy as np
import pytest

from tenor.errors import ArgumentError
from tenor.export.quantize.observed import BINS, Observed
from tenor.export.quantize.scaling import range_scheme
from tenor.export.quantize.threshold import check, kept_range


def seen(*batches):
    made = Observed(histogram=True)
    for batch in batches:
        made.add(np.asarray(batch, np.float32))
    return made


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shift", [0.0, 100.0, -3e4])
@pytest.mark.parametrize("growth", [1.0, 3.0, 1e4])
def test_a_histogram_is_numpys(shift, growth):
    batches = [drawn(k, 50, 7) * growth**k + shift for k in range(4)]
    made = seen(*batches)
    whole = np.concatenate(batches).astype(np.float32)
    assert (made.low, made.high, made.count) == (whole.min(), whole.max(), whole.size)
    np.testing.assert_array_equal(
        made.histogram.counts, np.histogram(whole.astype(np.float64), made.histogram.edges)[0]
    )
    used = np.flatnonzero(made.histogram.counts)
    span = max(np.ptp(whole), np.abs(whole).max())
    assert made.histogram.width <= 4 * span / (BINS - 1)
    assert used[-1] < BINS


def test_the_batches_do_not_show():
    values = drawn(3, 999) * np.repeat([1.0, 90.0, 0.01], 333).astype(np.float32)
    whole = seen(values)
    for order in (np.arange(999), np.random.default_rng(0).permutation(999)):
        parts = seen(*np.array_split(values[order], 13))
        assert (parts.low, parts.high) == (whole.low, whole.high)
        assert (parts.histogram.width, parts.histogram.first) == (
            whole.histogram.width,
            whole.histogram.first,
        )
        np.testing.assert_array_equal(parts.histogram.counts, whole.histogram.counts)


def test_what_is_not_finite_is_counted_apart():
    made = seen([1.0, np.nan, -2.0], [np.inf, 3.0], [-np.inf], [])
    assert (made.low, made.high, made.count) == (-2.0, 3.0, 3)
    assert (made.nans, made.infinities) == (1, 2)
    assert made.histogram.counts.sum() == 3


@pytest.mark.parametrize("value", [0.0, 1.0, -1e-42, 3e38])
def test_one_value_over_and_over(value):
    made = seen([value] * 3, [value] * 4)
    assert made.low == made.high == np.float32(value)
    assert made.histogram.counts.max() == 7


# -- which range is kept --------------------------------------------------------------------------
@pytest.mark.parametrize("percentile", [99.0, 99.9, 100.0])
def test_a_percentile_clips_as_many_as_it_says(percentile):
    values = drawn(5, 200_000)
    made = seen(values)
    low, high = kept_range(made, "percentile", percentile)
    wanted = np.quantile(values, [1 - percentile / 100, percentile / 100])
    np.testing.assert_allclose((low, high), wanted, atol=2 * made.histogram.width)
    assert made.low <= low < high <= made.high


def error(values, low, high):
    scheme = range_scheme(low, high)
    return float(np.mean((scheme.real(scheme.stored(values)) - values) ** 2))


@pytest.mark.parametrize("method", ["percentile", "entropy"])
@pytest.mark.parametrize("one_sided", [False, True])
def test_clipping_beats_the_whole_range_where_few_values_lie_far_off(method, one_sided):
    values = drawn(6, 100_000)
    values = np.abs(values) if one_sided else values
    values[::25_000] = 100.0  # four of them
    body = np.delete(values, slice(None, None, 25_000))
    made = seen(*np.array_split(values, 9))
    kept, whole = kept_range(made, method, 99.99), kept_range(made, "minmax", 99.99)
    assert whole == (values.min(), 100.0)
    assert kept[1] < 40
    assert error(body, *kept) < error(body, *whole) / 20


def test_entropy_keeps_all_of_a_flat_range():
    made = seen(np.random.default_rng(0).random(1 << 18, np.float32))
    low, high = kept_range(made, "entropy", 99.99)
    assert low == made.low
    assert high > 0.95


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_a_constant_is_its_own_range(method):
    assert kept_range(seen([0.5] * 9), method, 99.99) == (0.5, 0.5)
    assert kept_range(seen(np.zeros(9)), method, 99.99) == (0.0, 0.0)
    assert kept_range(Observed(histogram=True), method, 99.99) == (0.0, 0.0)


@pytest.mark.parametrize(("method", "percentile"), [("max", 99), ("percentile", 50),
                                                    ("percentile", 100.5)])  # fmt: skip
def test_what_is_no_method_is_refused(method, percentile):
    with pytest.raises(ArgumentError, match="calibrate"):
        check(method, percentile)
