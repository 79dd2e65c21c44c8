"""The oracle: a graph interpreted with NumPy, one function a primitive, no optimisation.

Every function sees its operands in the dtype arithmetic is done in (`DType.compute`) and its
result is rounded once to the node's dtype, so float16 and bfloat16 follow one rule everywhere.
Sums, contractions and transcendental functions of float32 are worked out in float64: what is
left is one rounding, and a kernel's error can be told from the oracle's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.errors import IndexRangeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.bfloat16 import from_bfloat16, to_bfloat16
from tenor.ir.node import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from tenor.ir.dtype import DType
    from tenor.ir.node import Graph

__all__ = ["TABLE", "philox", "run"]


def run(graph: Graph, inputs: Sequence[NDArray[Any]], scalars: Sequence[Any]) -> list[NDArray[Any]]:
    """Return the graph's outputs.

    Args:
        graph: What to compute.
        inputs: The LEAF values in the graph's order; bfloat16 as uint16 bits.
        scalars: The SCALAR values in the graph's order.

    Raises:
        IndexRangeError: a `wrap_index` met an index outside its range.
    """
    leaves, numbers = iter(inputs), iter(scalars)
    values: dict[Node, NDArray[Any]] = {}
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            if node.op.name == "leaf":
                value = np.asarray(next(leaves))
            elif node.op.name == "scalar":
                value = _store(np.asarray(next(numbers)), node.dtype)
            else:
                operands = [_load(values[x], x.dtype) for x in node.inputs]
                value = _store(np.asarray(TABLE[node.op.name](node, *operands)), node.dtype)
            assert value.shape == node.shape, f"{node!r} came out as {value.shape}"
            assert value.dtype == node.dtype.numpy, f"{node!r} came out as {value.dtype}"
            values[node] = value
    return [np.array(values[node], order="C") for node in graph.outputs]


def _load(value: NDArray[Any], dtype: DType) -> NDArray[Any]:
    """Return a stored value in the dtype arithmetic is done in."""
    if dtype is dt.bfloat16:
        return from_bfloat16(value)
    return value.astype(dtype.compute.numpy, copy=False)


def _store(value: NDArray[Any], dtype: DType) -> NDArray[Any]:
    """Round a result to a dtype, by way of the dtype arithmetic is done in."""
    computed = value.astype(dtype.compute.numpy, copy=False)
    if dtype is dt.bfloat16:
        return to_bfloat16(computed)
    return computed.astype(dtype.numpy, copy=False)


def _wide(x: NDArray[Any]) -> NDArray[Any]:
    """Return floats in float64; other values as they are."""
    return x.astype(np.float64) if x.dtype.kind == "f" else x


# -- constants --------------------------------------------------------------------------------
def _const(node: Node) -> NDArray[Any]:
    return np.array(node.attr("value"))


def _iota(node: Node) -> NDArray[Any]:
    return np.arange(node.attr("length"))


PHILOX_MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
PHILOX_WEYL: Final = (0x9E3779B9, 0xBB67AE85)


def philox(counter: Sequence[NDArray[Any]], key: tuple[int, int]) -> list[NDArray[Any]]:
    """Return the four words of Philox4x32-10 for each counter.

    Args:
        counter: The counters' four words, lowest first; arrays of numbers below 2**32.
        key: The key's two words, lowest first.

    Source:
        Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    a, b, c, d = (np.asarray(word, np.uint64) for word in counter)
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    for turn in range(10):
        k0, k1 = ((k + turn * w) & 0xFFFFFFFF for k, w in zip(key, PHILOX_WEYL, strict=True))
        p, q = a * np.uint64(PHILOX_MULTIPLIERS[0]), c * np.uint64(PHILOX_MULTIPLIERS[1])
        a, c = (q >> half) ^ b ^ np.uint64(k0), (p >> half) ^ d ^ np.uint64(k1)
        b, d = q & mask, p & mask
    return [word.astype(np.uint32) for word in (a, b, c, d)]


def _random_bits(node: Node, seed: NDArray[Any], offset: NDArray[Any]) -> NDArray[Any]:
    count = math.prod(node.shape)
    key, first = int(seed) % 2**64, int(offset) % 2**64
    blocks = np.arange(-(-count // 4), dtype=np.uint64) + np.uint64(first)
    zero = np.zeros_like(blocks)
    low, high = blocks & np.uint64(0xFFFFFFFF), blocks >> np.uint64(32)
    words = philox((low, high, zero, zero), (key % 2**32, key // 2**32))
    return np.stack(words, axis=-1).ravel()[:count].reshape(node.shape)


# -- elementwise ------------------------------------------------------------------------------
def _of(function: Callable[..., Any]) -> Callable[..., NDArray[Any]]:
    """Return the row of a NumPy function that needs no attribute."""
    return lambda _node, *operands: np.asarray(function(*operands))


def _widely(function: Callable[..., Any]) -> Callable[..., NDArray[Any]]:
    """Return the row of a transcendental function, worked out in float64."""
    return lambda _node, *operands: np.asarray(function(*map(_wide, operands)))


def _erf(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x), np.float64)


def _sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    small = np.exp(-np.abs(x))  # never overflows, whichever the sign
    return np.asarray(np.where(x < 0, small, 1) / (1 + small))


def _quantize(node: Node, x: NDArray[Any]) -> NDArray[Any]:
    zero_point, low, high = node.attrs
    held = np.clip(np.rint(x.astype(np.float64)) + zero_point, low, high)
    return np.asarray(np.where(np.isnan(x), low, held))


def _wrap_index(node: Node, x: NDArray[Any]) -> NDArray[Any]:
    extent = node.attr("size")
    lowest = -extent if node.attr("what") == "index" else 0
    outside = (x < lowest) | (x >= extent)
    if outside.any():
        raise IndexRangeError(
            f"{node.attr('what')}: must lie in [{lowest}, {extent}).",
            came=str(x[outside].flat[0]),
            fix="check the indices against the extent of the dim they index",
            operands=(node, int(x[outside].flat[0])),
        )
    return np.where(x < 0, x + extent, x)


def _pow(_node: Node, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Return a**b; a negative power of an integer truncates to 0 unless the base is 1 or -1."""
    if a.dtype.kind == "f":
        # NumPy takes a lone exponent 0.5 for a square root, which is NaN for -inf.
        root = np.isneginf(a) & (b == 0.5)
        return np.where(root, np.inf, np.power(_wide(a), _wide(b)))
    power = np.power(a, np.where(b < 0, np.zeros_like(b), b))
    if a.dtype.kind == "u":
        return np.asarray(power)
    unit = np.where(b % 2 == 0, np.ones_like(a), a)
    inverse = np.where(np.abs(a) == 1, unit, np.zeros_like(a))
    return np.where(b < 0, inverse, power)


# -- reductions -------------------------------------------------------------------------------
def _reduction(ufunc: np.ufunc) -> Callable[..., NDArray[Any]]:
    """Return the row of a reduction; integers wrap, NaN propagates."""

    def row(node: Node, x: NDArray[Any]) -> NDArray[Any]:
        wide = _wide(x) if ufunc is np.add else x
        # NumPy would sum small integers in int64; the extremes keep their dtype by themselves.
        dtype = wide.dtype if ufunc in (np.add, np.multiply) else None
        return np.asarray(ufunc.reduce(wide, axis=node.attr("dims"), dtype=dtype, keepdims=True))

    return row


def _position(function: Callable[..., Any]) -> Callable[..., NDArray[Any]]:
    """Return the row of argmax or argmin: NumPy's own choice is the first, NaN before all."""

    def row(node: Node, x: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(function(x, axis=node.attr("dim"), keepdims=True))

    return row


# -- movement ---------------------------------------------------------------------------------
def _reshape(node: Node, x: NDArray[Any]) -> NDArray[Any]:
    return x.reshape(node.shape)


def _expand(node: Node, x: NDArray[Any]) -> NDArray[Any]:
    return np.broadcast_to(x, node.shape)


def _permute(node: Node, x: NDArray[Any]) -> NDArray[Any]:
    return x.transpose(node.attr("dims"))


def _places(starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int]) -> tuple[Any, ...]:
    """Return the open mesh of the positions starts + i * steps."""
    every = zip(starts, sizes, steps, strict=True)
    return np.ix_(*(start + np.arange(count) * step for start, count, step in every))


def _slice(node: Node, x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(x[_places(*node.attrs)])


def _slice_update(node: Node, x: NDArray[Any], value: NDArray[Any]) -> NDArray[Any]:
    starts, steps = node.attrs
    result = x.copy()
    result[_places(starts, value.shape, steps)] = value
    return result


def _pad(node: Node, x: NDArray[Any]) -> NDArray[Any]:
    low, _, value = node.attrs
    result = np.full(node.shape, np.array(value).astype(x.dtype))
    result[tuple(slice(a, a + n) for a, n in zip(low, x.shape, strict=True))] = x
    return result


def _windows(count: int, width: int, step: int, dilation: int) -> NDArray[Any]:
    """Return the positions [window, entry] that sliding windows read."""
    return np.asarray(np.arange(count)[:, None] * step + np.arange(width) * dilation)


def _unfold(node: Node, x: NDArray[Any]) -> NDArray[Any]:
    dim, width, step, dilation = node.attrs
    places = _windows(node.shape[dim], width, step, dilation)
    return np.moveaxis(np.take(x, places, axis=dim), dim + 1, -1)


def _fold(node: Node, x: NDArray[Any]) -> NDArray[Any]:
    dim, _, step, dilation = node.attrs
    places = _windows(x.shape[dim], x.shape[-1], step, dilation)
    result = np.zeros(node.shape, _wide(x).dtype)
    np.add.at(result, (slice(None),) * dim + (places,), np.moveaxis(x, -1, dim + 1))
    return result


def _concat(node: Node, *parts: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate(parts, axis=node.attr("dim"))


# -- index ------------------------------------------------------------------------------------
def _take(node: Node, x: NDArray[Any], index: NDArray[Any]) -> NDArray[Any]:
    return np.take(x, index, axis=node.attr("dim"))


def _along(index: NDArray[Any], dim: int) -> tuple[NDArray[Any], ...]:
    """Return flat positions in row-major order, dim's replaced by the index."""
    places: list[NDArray[Any]] = list(np.indices(index.shape))
    places[dim] = index
    return tuple(place.ravel() for place in places)


def _take_along(node: Node, x: NDArray[Any], index: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(x[_along(index, node.attr("dim"))]).reshape(index.shape)


def _write(target: NDArray[Any], places: Any, source: NDArray[Any], mode: str) -> NDArray[Any]:
    """Write or add at flat positions, in order: of equal positions the last written stays."""
    if mode == "set":
        target[places] = source
        return target
    total = _wide(target)
    np.add.at(total, places, source)
    return total


def _put(node: Node, x: NDArray[Any], index: NDArray[Any], source: NDArray[Any]) -> NDArray[Any]:
    dim, mode = node.attrs
    flat = source.reshape(*x.shape[:dim], index.size, *x.shape[dim + 1 :])
    target = np.moveaxis(x, dim, 0).copy()
    done = _write(target, index.ravel(), np.moveaxis(flat, dim, 0), mode)
    return np.moveaxis(done, 0, dim)


def _put_along(
    node: Node, x: NDArray[Any], index: NDArray[Any], source: NDArray[Any]
) -> NDArray[Any]:
    dim, mode = node.attrs
    return _write(x.copy(), _along(index, dim), source.ravel(), mode)


# -- contractions -----------------------------------------------------------------------------
def _matmul(_node: Node, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.matmul(_wide(a), _wide(b)))


def _matmul_int8(_node: Node, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    # Exact in float64: no sum of products of bytes reaches 2^53.
    return np.asarray(np.matmul(a.astype(np.float64), b.astype(np.float64).T), np.int64)


def _taps(
    kernel: Sequence[int], out: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Iterator[tuple[Any, Any]]:
    """Yield, as indices of the last dims, each kernel position and the input places it meets."""
    for tap in np.ndindex(*kernel):
        every = zip(tap, out, stride, dilation, strict=True)
        met = (slice(k * d, k * d + (n - 1) * s + 1, s) for k, n, s, d in every)
        yield (..., *tap), (..., *met)


def _padded(x: NDArray[Any], padding: Sequence[tuple[int, int]], groups: int) -> NDArray[Any]:
    """Return x as [N, groups, C/groups, *S], padded with zeros, in float64."""
    around = np.pad(_wide(x), ((0, 0), (0, 0), *padding))
    return around.reshape(x.shape[0], groups, -1, *around.shape[2:])


def _grouped(channels: NDArray[Any], groups: int) -> NDArray[Any]:
    """Return a weight [O, ...] as [groups, O/groups, ...], in float64."""
    return _wide(channels).reshape(groups, -1, *channels.shape[1:])


def _conv(node: Node, x: NDArray[Any], w: NDArray[Any]) -> NDArray[Any]:
    stride, padding, dilation, groups = node.attrs
    around, weight, out = _padded(x, padding, groups), _grouped(w, groups), node.shape[2:]
    result = np.zeros((x.shape[0], groups, weight.shape[1], *out), around.dtype)
    for tap, met in _taps(w.shape[2:], out, stride, dilation):
        result += np.einsum("ngc...,goc->ngo...", around[met], weight[tap])
    return result.reshape(node.shape)


def _conv_int8(node: Node, x: NDArray[Any], w: NDArray[Any]) -> NDArray[Any]:
    # Exact in float64, as above.
    *attrs, fill = node.attrs
    real, around = x.astype(np.float64), ((0, 0), (0, 0), *attrs[1])
    held = np.pad(real, around, constant_values=fill)
    attrs[1] = ((0, 0),) * len(attrs[1])
    plain = Node(ops.CONV, node.inputs, tuple(attrs), node.shape, node.dtype)
    return _conv(plain, held, w.astype(np.float64)).astype(np.int64)


def _conv_input(node: Node, g: NDArray[Any], w: NDArray[Any]) -> NDArray[Any]:
    shape, stride, padding, dilation, groups = node.attrs
    weight, out = _grouped(w, groups), g.shape[2:]
    cotangent = _wide(g).reshape(shape[0], groups, -1, *out)
    around = _padded(np.zeros(shape, g.dtype), padding, groups)
    for tap, met in _taps(w.shape[2:], out, stride, dilation):
        around[met] += np.einsum("ngo...,goc->ngc...", cotangent, weight[tap])
    every = zip(padding, shape[2:], strict=True)
    inner: tuple[Any, ...] = (..., *(slice(low, low + n) for (low, _), n in every))
    return np.asarray(around[inner]).reshape(shape)


def _conv_weight(node: Node, x: NDArray[Any], g: NDArray[Any]) -> NDArray[Any]:
    shape, stride, padding, dilation, groups = node.attrs
    around, out = _padded(x, padding, groups), g.shape[2:]
    cotangent = _wide(g).reshape(x.shape[0], groups, shape[0] // groups, -1)
    result = np.zeros((groups, shape[0] // groups, *shape[1:]), around.dtype)
    for tap, met in _taps(shape[2:], out, stride, dilation):
        part = around[met].reshape(x.shape[0], groups, shape[1], -1)
        result[tap] = np.einsum("ngcs,ngos->goc", part, cotangent)
    return result.reshape(shape)


def _weights(
    node: Node, q: NDArray[Any], k: NDArray[Any], mask: Sequence[NDArray[Any]]
) -> NDArray[Any]:
    """Return the softmax of the scores, in float64; 0 where every score is -inf."""
    causal, scale = node.attrs
    scores = _wide(q) @ np.swapaxes(_wide(k), -1, -2) * scale
    for m in mask:
        scores = scores + _wide(m)
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf)
    top = scores.max(-1, keepdims=True)
    e = np.exp(scores - np.where(np.isneginf(top), 0.0, top))
    total = e.sum(-1, keepdims=True)
    return np.asarray(e / np.where(total == 0, 1.0, total))


def _attention(
    node: Node, q: NDArray[Any], k: NDArray[Any], v: NDArray[Any], *mask: NDArray[Any]
) -> NDArray[Any]:
    return np.swapaxes(_weights(node, q, k, mask) @ _wide(v), 1, 2)


def _attention_gradient(
    node: Node, q: NDArray[Any], k: NDArray[Any], v: NDArray[Any], g: NDArray[Any],
    *mask: NDArray[Any],
) -> NDArray[Any]:  # fmt: skip
    p, g = _weights(node, q, k, mask), np.swapaxes(_wide(g), 1, 2)
    to_p = g @ np.swapaxes(_wide(v), -1, -2)
    to_s = p * (to_p - (p * to_p).sum(-1, keepdims=True)) * node.attr("scale")
    parts = (to_s @ _wide(k), np.swapaxes(to_s, -1, -2) @ _wide(q), np.swapaxes(p, -1, -2) @ g)
    return np.concatenate([np.swapaxes(part, 1, 2).ravel() for part in parts])


# -- order and tape ---------------------------------------------------------------------------
def _cumsum(node: Node, x: NDArray[Any]) -> NDArray[Any]:
    dim, reverse = node.attrs
    wide = _wide(x)
    if not reverse:
        return np.cumsum(wide, axis=dim, dtype=wide.dtype)
    return np.flip(np.cumsum(np.flip(wide, dim), axis=dim, dtype=wide.dtype), dim)


def _argsort(node: Node, x: NDArray[Any]) -> NDArray[Any]:
    return _sorted(x, *node.attrs)


def _sorted(x: NDArray[Any], dim: int, descending: bool) -> NDArray[Any]:
    if not descending:
        return np.argsort(x, axis=dim, kind="stable")
    # Sorting the flipped values and flipping the answer keeps equal values in their order.
    flipped = np.argsort(np.flip(x, dim), axis=dim, kind="stable")
    return np.asarray(x.shape[dim] - 1 - np.flip(flipped, dim))


def _topk(node: Node, x: NDArray[Any]) -> NDArray[Any]:
    dim, k, descending = node.attrs
    return np.take(_sorted(x, dim, descending), np.arange(k), dim)


def _identity(_node: Node, x: NDArray[Any], *_others: NDArray[Any]) -> NDArray[Any]:
    return x


def _given(node: Node) -> NDArray[Any]:
    """Refuse: parameters are filled by `run` from its arguments."""
    raise AssertionError(f"{node!r} is a parameter")


TABLE: Final[dict[str, Callable[..., NDArray[Any]]]] = {
    "leaf": _given, "scalar": _given,
    "const": _const, "iota": _iota, "random_bits": _random_bits,
    "neg": _of(np.negative), "abs": _of(np.abs), "sign": _of(np.sign),
    "exp": _widely(np.exp), "expm1": _widely(np.expm1),
    "log": _widely(np.log), "log1p": _widely(np.log1p),
    "sqrt": _of(np.sqrt), "rsqrt": _widely(lambda x: 1 / np.sqrt(x)),
    "sin": _widely(np.sin), "cos": _widely(np.cos), "tanh": _widely(np.tanh),
    "erf": _widely(_erf), "sigmoid": _widely(_sigmoid),
    "floor": _of(np.floor), "ceil": _of(np.ceil), "trunc": _of(np.trunc), "round": _of(np.rint),
    "not": _of(np.invert), "cast": _identity, "wrap_index": _wrap_index,
    "quantize": _quantize,
    "add": _of(np.add), "sub": _of(np.subtract), "mul": _of(np.multiply), "div": _of(np.divide),
    "floordiv": _of(np.floor_divide), "mod": _of(np.mod), "pow": _pow,
    "maximum": _of(np.maximum), "minimum": _of(np.minimum),
    "eq": _of(np.equal), "ne": _of(np.not_equal), "lt": _of(np.less), "le": _of(np.less_equal),
    "and": _of(np.bitwise_and), "or": _of(np.bitwise_or), "xor": _of(np.bitwise_xor),
    "shl": _of(np.left_shift), "shr": _of(np.right_shift), "where": _of(np.where),
    "sum": _reduction(np.add), "prod": _reduction(np.multiply),
    "max": _reduction(np.maximum), "min": _reduction(np.minimum),
    "argmax": _position(np.argmax), "argmin": _position(np.argmin),
    "reshape": _reshape, "expand": _expand, "permute": _permute, "slice": _slice, "pad": _pad,
    "unfold": _unfold, "fold": _fold, "concat": _concat, "slice_update": _slice_update,
    "take": _take, "take_along": _take_along, "put": _put, "put_along": _put_along,
    "matmul_int8": _matmul_int8, "conv_int8": _conv_int8,
    "matmul": _matmul, "conv": _conv, "conv_input": _conv_input, "conv_weight": _conv_weight,
    "attention": _attention, "attention_gradient": _attention_gradient,
    "cumsum": _cumsum, "argsort": _argsort, "topk": _topk,
    "detach": _identity, "variable": _identity, "function": _identity, "barrier": _identity,
}  # fmt: skip
