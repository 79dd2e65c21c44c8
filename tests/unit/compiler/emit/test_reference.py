"""The oracle against facts that do not come from it: published vectors, plain loops, IEEE 754."""

import math
import warnings

import numpy as np
import pytest

from tenor.compiler.emit.reference import philox, run
from tenor.errors import IndexRangeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.bfloat16 import from_bfloat16, to_bfloat16
from tenor.ir.build import GraphBuilder

NAN, INF = float("nan"), float("inf")


def evaluate(op, attrs, *arrays, dtypes=None):
    """Return op(arrays) through a graph of one operation."""
    b = GraphBuilder()
    arrays = [np.asarray(a) for a in arrays]
    dtypes = dtypes or [dt.from_numpy(a.dtype) for a in arrays]
    leaves = [b.leaf(a.shape, d) for a, d in zip(arrays, dtypes, strict=True)]
    return run(b.graph(b.emit(op, tuple(leaves), attrs)), arrays, [])[0]


def numbers(*values, dtype=np.float32):
    return np.array(values, dtype)


# -- parameters, dtypes ---------------------------------------------------------------------------
def test_leaves_and_scalars_take_the_arguments_in_order():
    b = GraphBuilder()
    first, s, second, k = (
        b.leaf((2,), dt.float32),
        b.scalar(dt.float32),
        b.leaf((2,), dt.float32),
        b.scalar(dt.int64),
    )
    graph = b.graph(b.sub(first, second), b.mul(first, s), k)
    difference, product, number = run(graph, [numbers(5, 6), numbers(1, 2)], [0.5, 7])
    assert difference.tolist() == [4, 4]
    assert product.tolist() == [2.5, 3]
    assert (number.shape, number.dtype, int(number)) == ((), np.int64, 7)


def test_an_output_shares_no_memory_with_an_input():
    b = GraphBuilder()
    x = b.leaf((2,), dt.float32)
    given = numbers(1, 2)
    outputs = run(b.graph(x, b.emit(ops.DETACH, (x,))), [given], [])
    assert not any(np.shares_memory(given, o) for o in outputs)


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (1.0, 0x3F80), (-2.0, 0xC000), (0.0, 0x0000), (-0.0, 0x8000), (INF, 0x7F80), (-INF, 0xFF80),
        (1 + 2**-8, 0x3F80), (1 + 3 * 2**-8, 0x3F82), (1 + 2**-8 + 2**-20, 0x3F81),
        (3.4e38, 0x7F80), (1e-40, 0x0001), (NAN, 0x7FC0), (-NAN, 0xFFC0),
    ],
)  # fmt: skip
def test_bfloat16_rounds_to_nearest_even(value, bits):
    assert int(to_bfloat16(value)) == bits


def test_every_bfloat16_but_nan_comes_back_from_float32():
    bits = np.arange(2**16, dtype=np.uint16)
    values = from_bfloat16(bits)
    number = ~np.isnan(values)
    assert (to_bfloat16(values)[number] == bits[number]).all()
    assert number.sum() == 2**16 - 2 * 127


def test_float16_is_computed_in_float32_and_rounded_once_per_op():
    a = np.array([60000, 2048], np.float16)
    assert evaluate(ops.ADD, (), a, a).tolist() == [INF, 4096]
    ones = np.full(4096, 1, np.float16)  # a float16 running sum would stick at 2048
    assert evaluate(ops.SUM, ((0,),), ones).tolist() == [4096]


def test_bfloat16_arithmetic_rounds_to_bfloat16():
    one, small = to_bfloat16([1.0]), to_bfloat16([2**-9])
    assert evaluate(ops.ADD, (), one, small, dtypes=[dt.bfloat16] * 2).tolist() == one.tolist()


def test_integers_wrap():
    big = np.array([120], np.int8)
    assert evaluate(ops.ADD, (), big, big).tolist() == [-16]
    assert evaluate(ops.SUM, ((0,),), np.array([200, 100], np.uint8)).tolist() == [44]
    assert evaluate(ops.NEG, (), np.array([1], np.uint8)).tolist() == [255]


@pytest.mark.parametrize(
    ("values", "to", "expected"),
    [
        (numbers(1.9, -1.9), dt.int32, [1, -1]),
        (numbers(0, NAN, -0.5), dt.bool_, [False, True, True]),
        (np.array([300, -1]), dt.uint8, [44, 255]), (np.array([True, False]), dt.float16, [1, 0]),
    ],
)  # fmt: skip
def test_cast(values, to, expected):
    assert evaluate(ops.CAST, (to,), values).tolist() == expected


# -- elementwise ----------------------------------------------------------------------------------
EXACT = {
    ops.EXP: math.exp, ops.EXPM1: math.expm1, ops.LOG: math.log, ops.LOG1P: math.log1p,
    ops.SQRT: math.sqrt, ops.SIN: math.sin, ops.COS: math.cos, ops.TANH: math.tanh,
    ops.ERF: math.erf, ops.FLOOR: math.floor, ops.CEIL: math.ceil, ops.TRUNC: math.trunc,
    ops.ROUND: round, ops.NEG: lambda x: -x, ops.ABS: abs, ops.RSQRT: lambda x: 1 / math.sqrt(x),
    ops.SIGMOID: lambda x: 1 / (1 + math.exp(-x)), ops.SIGN: lambda x: math.copysign(1, x),
}  # fmt: skip


@pytest.mark.parametrize("op", EXACT, ids=str)
def test_a_float32_function_is_the_exact_value_rounded_once(op):
    x = np.linspace(0.01, 20, 57, dtype=np.float32)
    expected = np.array([EXACT[op](float(v)) for v in x])
    np.testing.assert_allclose(evaluate(op, (), x), expected, rtol=2**-23, atol=0)


def test_sign_of_each_side_of_zero_and_of_nan():
    np.testing.assert_array_equal(evaluate(ops.SIGN, (), numbers(-3, 0, 3, NAN)), [-1, 0, 1, NAN])


def test_sigmoid_overflows_nowhere():
    found = evaluate(ops.SIGMOID, (), np.array([-1000.0, -740.0, 0, 1000.0]))
    assert found.tolist() == [0, math.exp(-740), 0.5, 1]


@pytest.mark.parametrize(
    ("op", "expected"), [(ops.MAXIMUM, [2, NAN, NAN]), (ops.MINIMUM, [1, NAN, NAN])]
)
def test_extremes_of_two_propagate_nan(op, expected):
    found = evaluate(op, (), numbers(1, NAN, 1), numbers(2, 2, NAN))
    np.testing.assert_array_equal(found, expected)


def test_floor_division_and_remainder_follow_the_sign_of_the_divisor():
    a, b = np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])
    for x, y in ((a, b), (a.astype(np.float32), b.astype(np.float32))):
        assert evaluate(ops.FLOORDIV, (), x, y).tolist() == [3, -4, -4, 3]
        assert evaluate(ops.MOD, (), x, y).tolist() == [1, 1, -1, -1]


def test_integer_powers():
    a, b = np.array([2, -1, 1, 3, -1]), np.array([10, -3, -5, -1, -2])
    assert evaluate(ops.POW, (), a, b).tolist() == [1024, -1, 1, 0, 1]


def test_a_shift_to_the_right_keeps_the_sign():
    assert evaluate(ops.SHR, (), np.array([-8], np.int8), np.array([1], np.int8)).tolist() == [-4]
    assert evaluate(ops.SHR, (), np.array([248], np.uint8), np.array([1], np.uint8)).tolist() == [
        124
    ]


def test_bools_add_as_or_and_multiply_as_and():
    a, b = np.array([False, False, True, True]), np.array([False, True, False, True])
    assert evaluate(ops.ADD, (), a, b).tolist() == [False, True, True, True]
    assert evaluate(ops.MUL, (), a, b).tolist() == [False, False, False, True]


def test_wrap_index_counts_negative_indices_from_the_end():
    assert evaluate(ops.WRAP_INDEX, (4, "index"), np.array([-4, -1, 0, 3])).tolist() == [0, 3, 0, 3]


@pytest.mark.parametrize("index", [4, -5])
def test_an_index_out_of_range_is_refused_and_named(index):
    with pytest.raises(IndexRangeError, match=str(index)):
        evaluate(ops.WRAP_INDEX, (4, "index"), np.array([0, index]))


@pytest.mark.parametrize("what", ["row", "label"])
def test_rows_and_labels_do_not_count_from_the_end(what):
    assert evaluate(ops.WRAP_INDEX, (4, what), np.array([0, 3])).tolist() == [0, 3]
    with pytest.raises(IndexRangeError, match=f"{what}.*\n.*-1"):
        evaluate(ops.WRAP_INDEX, (4, what), np.array([0, -1]))


def test_nothing_warns():
    zero = numbers(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(ops.DIV, (), zero, zero)
        evaluate(ops.LOG, (), zero - 1)
        evaluate(ops.CAST, (dt.int32,), numbers(NAN))
        evaluate(ops.FLOORDIV, (), np.array([1]), np.array([0]))
        evaluate(ops.EXP, (), numbers(1000))


# -- reductions, order ----------------------------------------------------------------------------
def test_a_float32_sum_is_the_exact_sum_rounded_once():
    x = np.random.default_rng(1).standard_normal(10_001).astype(np.float32)
    assert evaluate(ops.SUM, ((0,),), x)[0] == np.float32(math.fsum(x.tolist()))


def test_reduced_dims_stay_with_extent_one():
    x = np.arange(24.0).reshape(2, 3, 4)
    assert evaluate(ops.SUM, ((0, 2),), x).tolist() == [[[60.0], [92.0], [124.0]]]
    assert evaluate(ops.PROD, ((1,),), np.array([[2.0, 3.0]])).tolist() == [[6.0]]


def test_max_and_min_propagate_nan():
    x = numbers([1, NAN, 3], [1, 2, 3])
    np.testing.assert_array_equal(evaluate(ops.MAX, ((1,), "even"), x), [[NAN], [3]])
    np.testing.assert_array_equal(evaluate(ops.MIN, ((1,), "even"), x), [[NAN], [1]])


def test_argmax_and_argmin_give_the_first_and_nan_before_all():
    x = numbers([3, 1, 3, 1], [1, NAN, 5, NAN])
    assert evaluate(ops.ARGMAX, (1,), x).tolist() == [[0], [1]]
    assert evaluate(ops.ARGMIN, (1,), x).tolist() == [[1], [1]]


def test_argsort_is_stable_both_ways_with_nan_the_largest():
    x = numbers(3, NAN, 1, 3, -INF, NAN, 1)
    assert evaluate(ops.ARGSORT, (0, False), x).tolist() == [4, 2, 6, 0, 3, 1, 5]
    assert evaluate(ops.ARGSORT, (0, True), x).tolist() == [1, 5, 0, 3, 2, 6, 4]


@pytest.mark.parametrize("descending", [False, True])
def test_argsort_keeps_the_order_of_many_equals(descending):
    x = np.random.default_rng(5).integers(0, 4, 1000)
    expected = sorted(range(1000), key=x.__getitem__, reverse=descending)
    assert evaluate(ops.ARGSORT, (0, descending), x).tolist() == expected


def test_cumsum_both_ways():
    x = np.array([[1, 2, 3]])
    assert evaluate(ops.CUMSUM, (1, False), x).tolist() == [[1, 3, 6]]
    assert evaluate(ops.CUMSUM, (1, True), x).tolist() == [[6, 5, 3]]


# -- movement -------------------------------------------------------------------------------------
def test_slice_takes_steps_both_ways():
    x = np.arange(30).reshape(5, 6)
    found = evaluate(ops.SLICE, ((4, 1), (3, 3), (-2, 2)), x)
    assert found.tolist() == x[::-2, 1::2].tolist()


def test_slice_update_writes_where_slice_reads():
    x, value = np.zeros((5, 6)), np.arange(1.0, 10).reshape(3, 3)
    written = evaluate(ops.SLICE_UPDATE, ((4, 1), (-2, 2)), x, value)
    assert evaluate(ops.SLICE, ((4, 1), (3, 3), (-2, 2)), written).tolist() == value.tolist()
    assert written.sum() == value.sum()


def test_pad_puts_its_value_around():
    assert evaluate(ops.PAD, ((1, 0), (0, 2), -INF), numbers([5])).tolist() == [
        [-INF] * 3,
        [5, -INF, -INF],
    ]


@pytest.mark.parametrize(("width", "step", "dilation"), [(3, 1, 1), (2, 3, 2), (1, 2, 1)])
def test_unfold_reads_windows(width, step, dilation):
    x = np.arange(20).reshape(2, 10)
    found = evaluate(ops.UNFOLD, (1, width, step, dilation), x)
    for w in range(found.shape[1]):
        for k in range(width):
            assert (found[:, w, k] == x[:, w * step + k * dilation]).all()


@pytest.mark.parametrize(("width", "step", "dilation"), [(3, 1, 1), (2, 3, 2), (4, 2, 1)])
def test_fold_is_the_transpose_of_unfold(width, step, dilation):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 10, 3))
    windows = evaluate(ops.UNFOLD, (1, width, step, dilation), x)
    g = rng.standard_normal(windows.shape)
    back = evaluate(ops.FOLD, (1, 10, step, dilation), g)
    assert (windows * g).sum() == pytest.approx((x * back).sum())


def test_expand_permute_reshape_concat():
    x = np.arange(6).reshape(2, 3)
    assert evaluate(ops.EXPAND, ((2, 2, 3),), x).tolist() == [x.tolist()] * 2
    assert evaluate(ops.PERMUTE, ((1, 0),), x).tolist() == x.T.tolist()
    assert evaluate(ops.RESHAPE, ((3, 2),), x).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert evaluate(ops.CONCAT, (1,), x, x[:, :1]).tolist() == [[0, 1, 2, 0], [3, 4, 5, 3]]


# -- index ----------------------------------------------------------------------------------------
def test_take_replaces_the_dim_by_the_indexs_dims():
    x = np.arange(24).reshape(2, 3, 4)
    found = evaluate(ops.TAKE, (1,), x, np.array([[2, 0], [1, 1]]))
    assert found.shape == (2, 2, 2, 4)
    assert (found[:, 0, 1] == x[:, 0]).all()
    assert (found[:, 1, 0] == x[:, 1]).all()


def test_put_sets_in_order_and_adds_every_time():
    x, index, source = np.zeros((2, 3)), np.array([2, 0, 2]), np.array([[1.0, 2, 3], [4, 5, 6]])
    assert evaluate(ops.PUT, (1, "set"), x, index, source).tolist() == [[2, 0, 3], [5, 0, 6]]
    assert evaluate(ops.PUT, (1, "add"), x, index, source).tolist() == [[2, 0, 4], [5, 0, 10]]


def test_take_along_and_put_along_are_gather_and_scatter():
    x, index = np.array([[1.0, 2, 3], [4, 5, 6]]), np.array([[1, 0, 1]])
    assert evaluate(ops.TAKE_ALONG, (0,), x, index).tolist() == [[4, 2, 6]]
    source = np.array([[10.0, 20, 30], [40, 50, 60]])
    repeated = np.array([[1, 1, 1], [0, 2, 0]])
    assert evaluate(ops.PUT_ALONG, (1, "set"), x, repeated, source).tolist() == [
        [1, 30, 3],
        [60, 5, 50],
    ]
    assert evaluate(ops.PUT_ALONG, (1, "add"), x, repeated, source).tolist() == [
        [1, 62, 3],
        [104, 5, 56],
    ]


# -- contractions ---------------------------------------------------------------------------------
def test_matmul_multiplies_each_pair_of_a_batch():
    a, b = np.arange(12).reshape(2, 2, 3), np.arange(12).reshape(2, 3, 2)
    assert evaluate(ops.MATMUL, (), a, b).tolist() == [
        (x @ y).tolist() for x, y in zip(a, b, strict=True)
    ]


CONVOLUTIONS = [
    ((2, 2, 6), (3, 2, 3), ((1,), ((0, 0),), (1,), 1)),
    ((2, 4, 5, 6), (6, 2, 2, 3), ((2, 1), ((1, 0), (2, 1)), (1, 2), 2)),
    ((1, 3, 4, 4), (3, 1, 3, 3), ((1, 1), ((1, 1), (1, 1)), (1, 1), 3)),
    ((1, 2, 3, 3, 3), (2, 2, 2, 2, 2), ((1, 2, 1), ((0, 0), (1, 1), (0, 0)), (1, 1, 2), 1)),
]


def looped_convolution(x, w, attrs):
    """Return the convolution by its definition, one product at a time."""
    stride, padding, dilation, groups = attrs
    x = np.pad(x, ((0, 0), (0, 0), *padding))
    spatial = zip(x.shape[2:], w.shape[2:], stride, dilation, strict=True)
    out = np.zeros(
        (x.shape[0], w.shape[0], *((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in spatial))
    )
    share = w.shape[0] // groups
    for n, o, *p in np.ndindex(out.shape):
        for c, *k in np.ndindex(w.shape[1:]):
            every = zip(p, k, stride, dilation, strict=True)
            at = [i * s + j * d for i, j, s, d in every]
            out[(n, o, *p)] += x[(n, o // share * w.shape[1] + c, *at)] * w[(o, c, *k)]
    return out


@pytest.mark.parametrize(("x", "w", "attrs"), CONVOLUTIONS)
def test_conv_is_its_definition(x, w, attrs):
    rng = np.random.default_rng(3)
    x, w = rng.standard_normal(x), rng.standard_normal(w)
    np.testing.assert_allclose(
        evaluate(ops.CONV, attrs, x, w), looped_convolution(x, w, attrs), atol=1e-12
    )


@pytest.mark.parametrize(("x", "w", "attrs"), CONVOLUTIONS)
def test_the_gradients_of_conv_are_its_transposes(x, w, attrs):
    rng = np.random.default_rng(4)
    x, w = rng.standard_normal(x), rng.standard_normal(w)
    y = evaluate(ops.CONV, attrs, x, w)
    g = rng.standard_normal(y.shape)
    to_x = evaluate(ops.CONV_INPUT, (x.shape, *attrs), g, w)
    to_w = evaluate(ops.CONV_WEIGHT, (w.shape, *attrs), x, g)
    assert (to_x * x).sum() == pytest.approx((g * y).sum())
    assert (to_w * w).sum() == pytest.approx((g * y).sum())


# -- random bits ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)  # fmt: skip
def test_philox_gives_the_published_words(counter, key, words):
    """Known-answer vectors of Random123 (kat_vectors, philox4x32 10)."""
    assert " ".join(f"{int(w):08x}" for w in philox(counter, key)) == words


def random_bits(shape, seed, offset):
    b = GraphBuilder()
    pair = b.scalar(dt.int64), b.scalar(dt.int64)
    return run(b.graph(b.emit(ops.RANDOM_BITS, pair, (shape,))), [], [seed, offset])[0]


def test_random_bits_of_a_later_offset_continue_the_stream():
    whole = random_bits((10,), 7, 3)
    assert random_bits((2, 3), 7, 4).ravel().tolist() == whole[4:].tolist()
    assert int(random_bits((1,), 0, 0)[0]) == 0x6627E8D5


def test_random_bits_take_negative_seeds_and_offsets_as_64_bits():
    first, second = random_bits((8,), -1, -1), random_bits((4,), -1, 0)
    assert first[4:].tolist() == second.tolist()
