"""Convolutions, products with weights, and pooling: how each is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.export.quantize.record import Scheme
from tenor.export.tflite.job import FLOAT, Job, Row
from tenor.ir import dtype as dt
from tenor.ir.infer import windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tenor.export.tflite.writer import Value, Writer
    from tenor.ir.node import Node

    Array = NDArray[Any]

__all__ = ["SPATIAL", "gathered"]

Pads = tuple[tuple[int, int], ...]
LARGEST_BIAS: Final = 1 << 30
HYBRID: Final = ("conv", "linear")
"""Layers whose weights may be in eight bits though all else is float: the large ones."""


# -- weights --------------------------------------------------------------------------------------
def _scales(job: Job, array: Array, axis: int, bias: Array | None, come: float) -> Array:
    """Return a weight's scales, one a channel: those asked for, or by its largest elements.

    A channel whose weights are next to nothing gets a scale that its bias fits in 32 bits with.
    """
    node = job.layer.inputs[1]
    asked = job.writer.schemes.get(node)
    if asked is not None and asked.axis == axis and asked.scale.size == array.shape[axis]:
        scale = np.asarray(asked.scale, np.float64).reshape(-1)
    else:
        rest = tuple(d for d in range(array.ndim) if d != axis)
        scale = np.abs(array).max(rest).astype(np.float64) / 127
    if bias is not None:
        scale = np.maximum(scale, np.abs(bias.astype(np.float64)) / come / LARGEST_BIAS)
    return np.where(scale > 0, scale, 1.0).astype(np.float32)


class _Weight:
    """A layer's weight and bias, ready to be written.

    `axis` is the output channels' dim in Tenor's order, `dims` the format's order of dims.
    """

    def __init__(self, job: Job, axis: int, dims: Sequence[int]) -> None:
        self.job, self.axis, self.dims = job, axis, tuple(dims)
        inputs, writer = job.layer.inputs, job.writer
        self.node = inputs[1]
        self.array = writer.known(self.node)
        self.bias_node = inputs[2] if len(inputs) > 2 else None
        self.bias = writer.known(self.bias_node) if self.bias_node is not None else None
        large = job.layer.kind in HYBRID and job.layer.attrs.get("groups", 1) == 1
        self.hybrid = (
            writer.weights == "int8" and large and job.rank <= 4 and not job.eight
            and self.array is not None
        )  # fmt: skip
        self.come = 1.0
        if job.eight:
            scheme = writer.get(inputs[0], last=job.last, eight=True).scheme
            assert scheme is not None
            self.come = float(scheme.scale.reshape(-1)[0])

    def written(self, count: int, change: Any = None, first: int = 0) -> list[Value]:
        """Return the weight's and the bias' tensors.

        Args:
            count: The number of output channels.
            change: What is done to the weight's elements first.
            first: The bias' first channel.
        """
        job, array = self.job, self.array
        if array is None:
            return [self._computed(), self._real_bias(count, first)]
        array = np.asarray(array, np.float32)
        if change is not None:
            array = change(array)
        name = job.writer.name_of(self.node)
        if not (job.eight or self.hybrid):
            return [self._real(array.transpose(self.dims), name), self._real_bias(count, first)]
        bias = None if self.bias is None else self.bias.reshape(-1)[first : first + count]
        scale = _scales(job, array, self.axis, bias if job.eight else None, self.come)
        scheme = Scheme(scale, np.zeros(scale.size, np.int32), self.axis)
        stored = np.clip(scheme.stored(array), -127, 127)
        axis = self.dims.index(self.axis)
        weight = job.writer.constant(stored.transpose(self.dims), dt.int8, scheme, name, axis)
        if not job.eight:
            return [weight, self._real_bias(count, first)]
        return [weight, self._stored_bias(scale, bias)]

    def _real(self, array: Array, name: str) -> Value:
        """Return a weight that is used as float32; halves are widened when the file is loaded."""
        writer = self.job.writer
        if writer.weights != "float16":
            return writer.constant(array, dt.float32, name=name)
        halves = writer.constant(array.astype(np.float16), dt.float16, name=name)
        return writer.op("DEQUANTIZE", [halves], halves.shape, dt.float32, at_least=3)

    def _computed(self) -> Value:
        """Return a weight that is worked out at run time; one of a line gets a height of 1."""
        writer, rank = self.job.writer, len(self.node.shape)
        if rank == len(self.dims):
            return writer.transpose(writer.get(self.node), self.dims)
        dims = [d - (d > 2) for d in self.dims if d != 2]
        value = writer.transpose(writer.get(self.node), dims)
        at = self.dims.index(2)
        return writer.reshape(value, (*value.shape[:at], 1, *value.shape[at:]))

    def _real_bias(self, count: int, first: int) -> Value:
        writer = self.job.writer
        if self.bias_node is None:
            return writer.constant(np.zeros(count, np.float32), dt.float32)
        if self.bias is None:
            return writer.reshape(writer.get(self.bias_node), (count,))
        name = writer.name_of(self.bias_node)
        part = self.bias.reshape(-1)[first : first + count]
        return writer.constant(part, dt.float32, name=name)

    def _stored_bias(self, scale: Array, bias: Array | None) -> Value:
        both = (self.come * scale.astype(np.float64)).astype(np.float32)
        bias = np.zeros(scale.size) if bias is None else bias
        scheme = Scheme(both, np.zeros(scale.size, np.int32), 0)
        stored = np.clip(np.rint(bias / both.astype(np.float64)), -(2**31), 2**31 - 1)
        return self.job.writer.constant(stored, dt.int32, scheme)


# -- padding --------------------------------------------------------------------------------------
def _same(length: int, size: int, step: int, dilation: int) -> tuple[int, int]:
    """Return what the format's SAME pads a dim by."""
    span = (size - 1) * dilation + 1
    total = max((-(-length // step) - 1) * step + span - length, 0)
    return total // 2, total - total // 2


def _padded(
    job: Job, x: Value, pads: Pads, rows: Sequence[tuple[int, int, int]]
) -> tuple[Value, str]:  # fmt: skip
    """Return x [N, *S, C], padded where neither VALID nor SAME does it, and which of them does.

    `rows` are (size, step, dilation) of each dim.
    """
    lengths = x.shape[1:-1]
    if all(tuple(p) == (0, 0) for p in pads):
        return x, "VALID"
    wanted = tuple(_same(n, *row) for n, row in zip(lengths, rows, strict=True))
    counts = [
        windows(n + a + b, row[0], row[1], row[2]) == -(-n // row[1])
        for n, (a, b), row in zip(lengths, pads, rows, strict=True)
    ]
    if tuple(map(tuple, pads)) == wanted and all(counts):
        return x, "SAME"
    return _zeros(job, x, pads), "VALID"


def _zeros(job: Job, x: Value, pads: Pads) -> Value:
    """Return x [N, *S, C] with zeros around it."""
    if any(n < 0 for pair in pads for n in pair):
        raise job.refuse("a .tflite file has no negative padding.", "slice the input instead")
    every = np.array([(0, 0), *pads, (0, 0)], np.int32)
    shape = [n + a + b for n, (a, b) in zip(x.shape, every.tolist(), strict=True)]
    return job.part("PAD", [x, job.writer.constant(every, dt.int32)], shape)


class _Plane:
    """A convolution's or pool's sizes as two dims: one dim becomes a plane of height 1."""

    def __init__(self, job: Job, x: Value) -> None:
        self.job, self.line = job, len(x.shape) == 3
        self.x = job.writer.reshape(x, (x.shape[0], 1, *x.shape[1:])) if self.line else x

    def of(self, items: Sequence[Any], first: Any) -> tuple[Any, ...]:
        """Return items of two dims."""
        return (first, *items) if self.line else tuple(items)

    def array(self, weight: Array) -> Array:
        """Return a weight [O, I, *K] of two dims."""
        return weight[:, :, None] if self.line else weight

    def back(self, value: Value) -> Value:
        """Return a result with as many dims as x had."""
        if not self.line:
            return value
        return self.job.writer.reshape(value, (value.shape[0], *value.shape[2:]))


def _sized(job: Job, name: str, inputs: list[Value], shape: Sequence[int], **options: Any) -> Value:
    dtype = dt.int8 if job.eight else dt.float32
    return job.writer.op(name, inputs, shape, dtype, job.scheme, **options)


# -- convolutions ---------------------------------------------------------------------------------
def _conv(job: Job) -> Value:
    if job.rank == 5:
        return _conv3d(job)
    return _conv2d(job, "CONV_2D", (0, 2, 3, 1))


def _depthwise(job: Job) -> Value:
    return _conv2d(job, "DEPTHWISE_CONV_2D", (1, 2, 3, 0))


def _conv2d(job: Job, name: str, dims: tuple[int, ...]) -> Value:
    plane = _Plane(job, job.x())
    kernel = plane.of(job.layer.inputs[1].shape[2:], 1)
    stride, dilation = (plane.of(job.attr(key), 1) for key in ("stride", "dilation"))
    pads = plane.of(job.attr("padding"), (0, 0))
    groups, count = job.attr("groups"), job.node.shape[1]
    rows = list(zip(kernel, stride, dilation, strict=True))
    x, padding = _padded(job, plane.x, pads, rows)
    weight = _Weight(job, 0, dims)
    inputs = [x, *weight.written(count, change=plane.array)]
    options: dict[str, Any] = {"multiplier": count // groups} if name[0] == "D" else {}
    least = 6 if groups > 1 else 5 if weight.hybrid else 1
    if name[0] == "D":
        least = 2 if max(dilation) > 1 else 1
    shape = [x.shape[0], *(windows(n, *row) for n, row in zip(x.shape[1:3], rows, strict=True))]
    if padding == "SAME":
        shape[1:] = [-(-n // row[1]) for n, row in zip(x.shape[1:3], rows, strict=True)]
    made = _sized(
        job, name, inputs, (*shape, count), at_least=least, padding=padding, stride_h=stride[0],
        stride_w=stride[1], dilation_h=dilation[0], dilation_w=dilation[1],
        activation=job.activation, **options,
    )  # fmt: skip
    return plane.back(made)


def _conv3d(job: Job) -> Value:
    stride, dilation = job.attr("stride"), job.attr("dilation")
    if job.attr("groups") > 1 or max(dilation) > 1:
        raise job.refuse("a .tflite file has 3-d convolutions of one group and no dilation.",
                         "use groups=1 and dilation=1")  # fmt: skip
    rows = list(zip(job.layer.inputs[1].shape[2:], stride, dilation, strict=True))
    x, padding = _padded(job, job.x(), job.attr("padding"), rows)
    inputs = [x, *_Weight(job, 0, (2, 3, 4, 1, 0)).written(job.node.shape[1])]
    return job.out(
        "CONV_3D", inputs, padding=padding, stride_d=stride[0], stride_h=stride[1],
        stride_w=stride[2], dilation_d=1, dilation_h=1, dilation_w=1, activation=job.activation,
    )  # fmt: skip


def _transposed(job: Job) -> Value:
    """Write a transposed convolution whole, without padding, and cut what padding takes away."""
    if job.rank == 5:
        raise job.refuse("a .tflite file has no 3-d transposed convolution here.",
                         "interpolate and convolve instead")  # fmt: skip
    plane = _Plane(job, job.x())
    weight, groups = _Weight(job, 1, (1, 2, 3, 0)), job.attr("groups")
    dilation = plane.of(job.attr("dilation"), 1)
    if weight.array is None and (groups > 1 or max(dilation) > 1):
        raise job.refuse("a .tflite file has no groups and no dilation in a transposed "
                         "convolution of a computed weight.",
                         "use a parameter or buffer as the weight")  # fmt: skip
    fused = weight.bias is not None and not _short(job)
    made = [_group(job, plane, weight, g, dilation, fused=fused) for g in range(groups)]
    whole = made[0]
    if groups > 1:
        shape = (*whole.shape[:-1], job.node.shape[1])
        whole = job.part("CONCATENATION", made, shape, axis=3)
    whole = _cut(job, plane, whole)
    return plane.back(_finished(job, whole, weight, fused=fused))


def _full(job: Job) -> list[int]:
    """Return the extents of a whole transposed convolution."""
    x, w = job.layer.inputs[:2]
    rows = zip(x.shape[2:], job.attr("stride"), w.shape[2:], job.attr("dilation"), strict=True)
    return [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in rows]


def _short(job: Job) -> bool:
    """Tell whether a transposed convolution ends before its result does."""
    rows = zip(_full(job), job.node.shape[2:], job.attr("padding"), strict=True)
    return any(full - low < wanted for full, wanted, (low, _) in rows)


def _group(
    job: Job, plane: _Plane, weight: _Weight, g: int, dilation: tuple[int, ...], *, fused: bool
) -> Value:
    x, stride, groups = plane.x, plane.of(job.attr("stride"), 1), job.attr("groups")
    size = plane.of(job.layer.inputs[1].shape[2:], 1)
    span = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    come, go = x.shape[3] // groups, job.node.shape[1] // groups
    if groups > 1:
        begin = job.writer.ints((0, 0, 0, g * come))
        part = (*x.shape[:3], come)
        x = job.part("SLICE", [x, begin, job.writer.ints(part)], part)

    def change(array: Array) -> Array:
        array = plane.array(array[g * come : (g + 1) * come])
        wide = np.zeros((*array.shape[:2], *span), np.float32)
        wide[:, :, :: dilation[0], :: dilation[1]] = array
        return wide

    shape = (x.shape[0], *plane.of(_full(job), 1), go)
    tensors = weight.written(go, change, g * go)
    inputs = [job.writer.ints(shape), tensors[0], x, *(tensors[1:] if fused else [])]
    dtype = dt.int8 if job.eight else dt.float32
    least = 3 if fused else 2 if job.eight else 1
    return job.writer.op(
        "TRANSPOSE_CONV", inputs, shape, dtype, job.scheme, at_least=least, padding="VALID",
        stride_h=stride[0], stride_w=stride[1],
    )  # fmt: skip


def _cut(job: Job, plane: _Plane, whole: Value) -> Value:
    """Return the part of a whole transposed convolution that padding leaves, zeros after it."""
    pads = plane.of(job.attr("padding"), (0, 0))
    lengths = plane.of(job.node.shape[2:], 1)
    begin = (0, *(low for low, _ in pads), 0)
    if min(begin) < 0:
        raise job.refuse("a .tflite file has no negative padding.", "slice the input instead")
    kept = tuple(
        min(n, full - a) for n, full, (a, _) in zip(lengths, whole.shape[1:3], pads, strict=True)
    )
    shape = (whole.shape[0], *kept, whole.shape[3])
    if shape != whole.shape:
        ints = job.writer.ints
        whole = job.part("SLICE", [whole, ints(begin), ints(shape)], shape)
    more = tuple((0, n - k) for n, k in zip(lengths, kept, strict=True))
    return _zeros(job, whole, more) if any(b for _, b in more) else whole


def _finished(job: Job, whole: Value, weight: _Weight, *, fused: bool) -> Value:
    """Add the bias, where that is still to be done, and do the activation."""
    if weight.bias_node is not None and not fused:
        if weight.bias is None:
            bias = job.writer.reshape(job.writer.get(weight.bias_node), (whole.shape[3],))
        else:
            bias = job.writer.number(weight.bias.reshape(-1), dt.float32, eight=job.eight)
        return job.part("ADD", [whole, bias], whole.shape, activation=job.activation)
    if job.activation:
        return job.part(job.activation.upper(), [whole], whole.shape)
    return whole


# -- products -------------------------------------------------------------------------------------
def _linear(job: Job) -> Value:
    writer, (node, weight_node) = job.writer, job.layer.inputs[:2]
    come, go = weight_node.shape
    weight = _Weight(job, 1, (1, 0))
    flat, change = writer.flat.get(node), None
    if flat is not None and weight.array is not None and flat[0].scheme is job.x().scheme:
        x, before = flat
        change = _reordered(before)
    else:
        x = job.x()
    x = writer.reshape(x, (int(np.prod(x.shape)) // come, come))
    inputs = [x, *weight.written(go, change=change)]
    made = _sized(
        job, "FULLY_CONNECTED", inputs, (x.shape[0], go), at_least=12 if weight.hybrid else 1,
        activation=job.activation, keep_num_dims=False, asymmetric=weight.hybrid,
    )  # fmt: skip
    return writer.reshape(made, job.node.shape)


def _reordered(before: Node) -> Any:
    """Return what brings a weight's rows from channels first to the order they now come in."""
    lead = before.shape[1:]

    def change(array: Array) -> Array:
        go = array.shape[1]
        rows = array.reshape(*lead, go)
        return np.moveaxis(rows, 0, -2).reshape(-1, go)

    return change


# -- pooling --------------------------------------------------------------------------------------
def _max_pool(job: Job) -> Value:
    return _pool(job, "MAX_POOL_2D", "REDUCE_MAX")


def _avg_pool(job: Job) -> Value:
    return _pool(job, "AVERAGE_POOL_2D", "MEAN")


def _pool(job: Job, name: str, reduction: str) -> Value:
    if max(job.attr("dilation")) > 1 or job.rank == 5:
        return _apart(job, reduction)
    plane = _Plane(job, job.x())
    size, stride = (plane.of(job.attr(key), 1) for key in ("size", "stride"))
    pads = plane.of(job.attr("padding"), (0, 0))
    rows = [(k, s, 1) for k, s in zip(size, stride, strict=True)]
    if name == "MAX_POOL_2D":
        x, padding = _padded(job, plane.x, pads, rows)
        if x is not plane.x:
            x = _lowest(job, plane.x, pads)
    else:  # SAME leaves padding out of the average
        x = _zeros(job, plane.x, pads) if any(map(any, pads)) else plane.x
        padding = "VALID"
    shape = plane.of(job.node.shape[2:], 1)
    made = _sized(
        job, name, [x], (x.shape[0], *shape, x.shape[3]), padding=padding, stride_h=stride[0],
        stride_w=stride[1], filter_height=size[0], filter_width=size[1],
    )  # fmt: skip
    return plane.back(made)


def _lowest(job: Job, x: Value, pads: Pads) -> Value:
    """Return x [N, *S, C] with the lowest number around it."""
    every = np.array([(0, 0), *pads, (0, 0)], np.int32)
    shape = [n + a + b for n, (a, b) in zip(x.shape, every.tolist(), strict=True)]
    low: Value
    if x.scheme is not None:
        low = job.writer.constant(np.array(-128, np.int8), dt.int8, x.scheme)
    else:
        low = job.writer.scalar(float(np.finfo(np.float32).min), dt.float32)
    return job.part("PADV2", [x, job.writer.constant(every, dt.int32), low], shape)


def _apart(job: Job, reduction: str) -> Value:
    """Write a pool dim by dim: windows gathered, and reduced."""
    x, pads = job.x(), job.attr("padding")
    if any(map(any, pads)):
        x = _lowest(job, x, pads) if reduction == "REDUCE_MAX" else _zeros(job, x, pads)
    keys = ("size", "stride", "dilation")
    for d, row in enumerate(zip(*(job.attr(key) for key in keys), strict=True)):
        axis = 1 + d
        wide = gathered(job.writer, x, axis, *row)
        shape = (*wide.shape[: axis + 1], *wide.shape[axis + 2 :])
        x = job.part(reduction, [wide, job.writer.ints([axis + 1])], shape, keep_dims=False)
    return x


def gathered(writer: Writer, x: Value, axis: int, size: int, step: int, dilation: int) -> Value:
    """Return the windows along a dim: that dim becomes [windows, size]."""
    fit = windows(x.shape[axis], size, step, dilation)
    places = np.arange(fit)[:, None] * step + np.arange(size) * dilation
    shape = (*x.shape[:axis], fit, size, *x.shape[axis + 1 :])
    index = writer.constant(places, dt.int32)
    return writer.op("GATHER", [x, index], shape, scheme=x.scheme, axis=axis, batch_dims=0)


SPATIAL: Final = {
    "conv": Row(_conv, FLOAT, "last", "weights"),
    "depthwise": Row(_depthwise, FLOAT, "last", "weights"),
    "transposed": Row(_transposed, FLOAT, "last", "weights"),
    "linear": Row(_linear, FLOAT, "plain", "weights"),
    "max_pool": Row(_max_pool, FLOAT, "last", "same"),
    "avg_pool": Row(_avg_pool, FLOAT, "last", "same"),
}
"""Layers that work on images, and products with weights."""
