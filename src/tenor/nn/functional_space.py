"""Convolution, pooling and padding."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine.macro import macro
from tenor.engine.trace import record
from tenor.errors import ArgumentError, ShapeError
from tenor.ir import op as ops
from tenor.tensor import arange, cat, is_grad_enabled, maximum, tensor, where
from tenor.tensor.operands import lowered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.tensor import Tensor

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "avg_pool1d", "avg_pool2d", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "max_pool1d", "max_pool2d", "pad", "pixel_shuffle", "pixel_unshuffle",
    "same_padding", "spread",
]  # fmt: skip


def spread(name: str, value: Any, count: int) -> tuple[int, ...]:
    """Return one integer for each spatial dim."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * count
    if len(values) == 1:
        values = values * count
    if len(values) != count or not all(hasattr(v, "__index__") for v in values):
        raise ArgumentError(
            f"{name}: takes an integer or {count} of them.",
            came=repr(value),
            fix=f"give one value for each of the {count} spatial dims",
        )
    return tuple([operator.index(v) for v in values])


def positive(name: str, value: Any, count: int) -> tuple[int, ...]:
    """Return one positive integer for each spatial dim."""
    values = spread(name, value, count)
    if min(values) < 1:
        raise ArgumentError(f"{name}: must be positive.", came=repr(value), fix="pass 1 or more")
    return values


def _borders(value: Any, count: int) -> tuple[int, ...]:
    """Return one padding for each spatial dim."""
    values = spread("padding", value, count)
    if min(values) < 0:
        raise ArgumentError(
            "padding: must not be negative.", came=repr(value), fix="cut the input with a slice"
        )
    return values


def _padding(
    padding: Any, kernel: Sequence[int], dilation: Sequence[int], stride: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        if any(s != 1 for s in stride):
            raise ArgumentError(
                "conv: padding='same' needs stride 1.",
                came=f"stride {tuple(stride)}",
                fix="give the padding as a number",
            )
        return same_padding(kernel, dilation)
    if isinstance(padding, str):
        raise ArgumentError(
            "conv: padding is a number, one for each spatial dim, 'same' or 'valid'.",
            came=repr(padding),
            fix="choose one of them",
        )
    return tuple((p, p) for p in _borders(padding, len(kernel)))


def same_padding(kernel: Sequence[int], dilation: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return (before, after) for each dim that keep the extents at stride 1."""
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple((t // 2, t - t // 2) for t in totals)


def _conv(
    x: Tensor, weight: Tensor, bias: Tensor | None,
    stride: Any, padding: Any, dilation: Any, groups: int, rank: int,
) -> Tensor:  # fmt: skip
    if x.ndim == rank + 1:
        return _conv(x.unsqueeze(0), weight, bias, stride, padding, dilation, groups, rank).squeeze(
            0
        )
    if x.ndim != rank + 2:
        raise ShapeError(
            f"conv{rank}d: expects an input of {rank + 2} dims (N, C, *space).",
            came=f"input: {tuple(x.shape)}",
            fix="add the missing dims with unsqueeze()",
            operands=(x,),
        )
    if x.shape[1] != weight.shape[1] * groups:
        raise ShapeError(
            f"conv{rank}d: expects {weight.shape[1] * groups} channels in dim 1 of the input.",
            came=[f"input: {tuple(x.shape)}", f"weight: {tuple(weight.shape)}"],
            fix=_channel_fix(x, weight.shape[1] * groups),
            operands=(x, weight),
        )
    stride, dilation = positive("stride", stride, rank), positive("dilation", dilation, rank)
    pads = _padding(padding, weight.shape[2:], dilation, stride)
    out: Tensor = record(ops.CONV, lowered(x, weight), (stride, pads, dilation, groups))
    return out if bias is None else out + lowered(bias)[0].reshape(1, -1, *[1] * rank)


def _channel_fix(x: Tensor, wanted: int) -> str:
    if x.shape[-1] == wanted:
        return "channels go in dim 1: input.movedim(-1, 1)"
    return f"feed {wanted} channels, or build the layer for {x.shape[1]}"


@macro
def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Return the cross-correlation of (N, C, L) with (O, C/groups, K)."""
    return _conv(input, weight, bias, stride, padding, dilation, groups, 1)


@macro
def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Return the cross-correlation of an image with a bank of kernels.

    y[n, o, i, j] = bias[o] + sum_{c, p, q} x[n, c, i s + p d - pad, j s + q d - pad] w[o, c, p, q]

    Args:
        input: (N, C, H, W), or (C, H, W).
        weight: (O, C/groups, P, Q).
        bias: (O,).
        stride: Step s between outputs.
        padding: Zeros around the image; a number, a pair, "same" or "valid".
        dilation: Step d between the elements of a kernel.
        groups: Splits channels into independent convolutions.

    Raises:
        ShapeError: channels do not match, or the kernel is larger than the padded image.
    """
    return _conv(input, weight, bias, stride, padding, dilation, groups, 2)


@macro
def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Return the cross-correlation of (N, C, D, H, W) with (O, C/groups, K, P, Q)."""
    return _conv(input, weight, bias, stride, padding, dilation, groups, 3)


def _conv_transpose(
    x: Tensor, weight: Tensor, bias: Tensor | None,
    stride: Any, padding: Any, output_padding: Any, groups: int, dilation: Any, rank: int,
) -> Tensor:  # fmt: skip
    if x.ndim == rank + 1:
        return _conv_transpose(
            x.unsqueeze(0), weight, bias, stride, padding, output_padding, groups, dilation, rank
        ).squeeze(0)
    if x.ndim != rank + 2 or x.shape[1] != weight.shape[0]:
        raise ShapeError(
            f"conv_transpose{rank}d: the input (N, C, *space) must match the weight "
            "(C, O/groups, *K).",
            came=[f"input: {tuple(x.shape)}", f"weight: {tuple(weight.shape)}"],
            fix="check the number of channels",
            operands=(x, weight),
        )
    strides, dilations = positive("stride", stride, rank), positive("dilation", dilation, rank)
    pads = _borders(padding, rank)
    extra = spread("output_padding", output_padding, rank)
    if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)):
        raise ArgumentError(
            f"conv_transpose{rank}d: output_padding must be less than the stride or the dilation.",
            came=f"output_padding {extra}, stride {strides}, dilation {dilations}",
            fix="use a smaller output_padding, or pad the result with functional.pad()",
        )
    space = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, s, p, d, k, e in zip(
            x.shape[2:], strides, pads, dilations, weight.shape[2:], extra, strict=True
        )
    )
    shape = (x.shape[0], weight.shape[1] * groups, *space)
    attrs = (shape, strides, tuple((p, p) for p in pads), dilations, groups)
    out: Tensor = record(ops.CONV_INPUT, lowered(x, weight), attrs)
    return out if bias is None else out + lowered(bias)[0].reshape(1, -1, *[1] * rank)


@macro
def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """Return the transpose of `conv1d` with the same arguments; weight is (C, O/groups, K)."""
    return _conv_transpose(
        input, weight, bias, stride, padding, output_padding, groups, dilation, 1
    )


@macro
def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """Return the transpose of `conv2d` with the same arguments; weight is (C, O/groups, P, Q)."""
    return _conv_transpose(
        input, weight, bias, stride, padding, output_padding, groups, dilation, 2
    )


# -- pooling ------------------------------------------------------------------------------------
def _windows(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """Return x with a dim of window elements at the end for each of its last dims."""
    rank = len(kernel)
    for k, s, d, n in zip(kernel, stride, dilation, x.shape[x.ndim - rank :], strict=True):
        if n < d * (k - 1) + 1:
            raise ShapeError(
                "pool: the window does not fit into the padded input.",
                came=[f"input: {tuple(x.shape)}, padded", f"window: {tuple(kernel)}"],
                fix="use a smaller window, less dilation or more padding",
            )
        # Each step takes the next spatial dim, which the new last dim moved one to the left.
        x = record(ops.UNFOLD, (x,), (x.ndim - rank, k, s, d))
    return x


def _pool_arguments(
    name: str, kernel_size: Any, stride: Any, padding: Any, rank: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    kernel = positive("kernel_size", kernel_size, rank)
    strides = kernel if stride is None else positive("stride", stride, rank)
    pads = _borders(padding, rank)
    if any(2 * p > k for p, k in zip(pads, kernel, strict=True)):
        raise ArgumentError(
            f"{name}: padding must be at most half the kernel.",
            came=f"padding {pads}, kernel {kernel}",
            fix="use less padding",
        )
    return kernel, strides, pads


def _round_up(n: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> int:
    """Return the elements to add at the end so that the last window fits."""
    span = d * (k - 1) + 1
    free = n + 2 * p - span
    if not ceil_mode or free % s == 0:
        return p
    last = -(-free // s) * s
    return p + last - free if last < n + p else p


def _padded(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], pads: Sequence[int],
    dilation: Sequence[int], ceil_mode: bool, value: float,
) -> Tensor:  # fmt: skip
    rank = len(kernel)
    space = x.shape[x.ndim - rank :]
    high = [
        _round_up(n, k, s, p, d, ceil_mode)
        for n, k, s, p, d in zip(space, kernel, stride, pads, dilation, strict=True)
    ]
    if not any(pads) and not any(high):
        return x
    lead = (0,) * (x.ndim - rank)
    return record(ops.PAD, (x,), ((*lead, *pads), (*lead, *high), value))  # type: ignore[no-any-return]


def _max_pool(
    x: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
    return_indices: bool, rank: int,
) -> Any:  # fmt: skip
    kernel, steps, pads = _pool_arguments(f"max_pool{rank}d", kernel_size, stride, padding, rank)
    dilations = positive("dilation", dilation, rank)
    low = -math.inf if x.is_floating_point() else int(np.iinfo(x.dtype.numpy).min)
    full = _padded(x, kernel, steps, pads, dilations, ceil_mode, low)
    if any(pads) and x.needs_grad and is_grad_enabled():
        full = _owned(full, pads, dilations)
    windows = _windows(full, kernel, steps, dilations)
    dims = tuple(range(windows.ndim - rank, windows.ndim))
    shape = windows.shape[: windows.ndim - rank]
    best = record(ops.MAX, (windows,), (dims, "first")).reshape(*shape)
    if not return_indices:
        return best
    space = tuple(x.shape[x.ndim - rank :])
    return best, _positions(windows.flatten(-rank), space, kernel, steps, pads, dilations)


def _owned(full: Tensor, pads: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """Return padded x, where padding passes the gradient on to a place of x that is as low.

    The first of equal maxima has the gradient. In a window of nothing but -inf that is padding,
    and the place is the window's first inside x.
    """
    for dim, (pad, step) in enumerate(zip(pads, dilation, strict=True), full.ndim - len(pads)):
        if pad:
            places = [full.narrow(dim, pad + q % step, 1) for q in range(-pad, 0)]
            edge = cat(places, dim)
            rest = full.narrow(dim, pad, full.shape[dim] - pad)
            full = cat([where(edge == -math.inf, edge, -math.inf), rest], dim)
    return full


def _positions(
    windows: Tensor, space: Sequence[int], kernel: Sequence[int], stride: Sequence[int],
    pads: Sequence[int], dilation: Sequence[int],
) -> Tensor:  # fmt: skip
    """Return where each window's maximum stands in the flattened space, without its padding."""
    rank, inner = len(kernel), windows.argmax(-1)
    total = inner * 0
    for i in range(rank):
        within = inner // math.prod(kernel[i + 1 :]) % kernel[i]
        column = [-1 if d == i else 1 for d in range(rank)]
        start = arange(inner.shape[inner.ndim - rank + i]).reshape(*column) * stride[i] - pads[i]
        if pads[i]:  # a window's first, found where the input is as low: the first one inside
            within = maximum(within, (dilation[i] - 1 - start).clamp(min=0) // dilation[i])
        total = total * space[i] + (start + within * dilation[i])
    return total


@macro
def max_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Return the maximum over sliding windows of (..., L); see `max_pool2d`."""
    return _max_pool(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, 1)


@macro
def max_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Return the maximum over sliding windows of (..., H, W).

    Args:
        input: (N, C, H, W) or (C, H, W).
        kernel_size: The window.
        stride: Step between windows; the window's extent by default.
        padding: Implicit -inf around the image, at most half a window.
        dilation: Step between the elements of a window.
        ceil_mode: Whether a last, partly filled window counts.
        return_indices: Whether to return (maxima, their positions in the flattened image).
    """
    return _max_pool(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, 2)


def _avg_pool(
    x: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
    count_include_pad: bool, rank: int, divisor: int | None = None,
) -> Tensor:  # fmt: skip
    kernel, steps, pads = _pool_arguments(f"avg_pool{rank}d", kernel_size, stride, padding, rank)
    ones = (1,) * rank
    exact = count_include_pad and not ceil_mode

    def pooled(t: Tensor, around: Sequence[int]) -> Tensor:
        windows = _windows(
            _padded(t, kernel, steps, around, ones, ceil_mode, 0.0), kernel, steps, ones
        )
        dims = tuple(range(windows.ndim - rank, windows.ndim))
        total: Tensor = record(ops.SUM, (windows,), (dims,))
        return total.reshape(*windows.shape[: windows.ndim - rank])

    total = pooled(x, pads)
    if divisor is not None:
        return total / float(divisor)
    if exact or (not any(pads) and not ceil_mode):
        return total / float(math.prod(kernel))
    # Count what lies inside: the image alone, or the image with its padding.
    inside = x.new_ones(x.shape[x.ndim - rank :])
    if count_include_pad:
        around = [(p, p) for p in pads]
        inside = pad(inside, [n for pair in reversed(around) for n in pair], value=1.0)
        return total / pooled(inside, (0,) * rank)[tuple(slice(0, n) for n in total.shape[-rank:])]
    return total / pooled(inside, pads)


@macro
def avg_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """Return the mean over sliding windows of (..., L)."""
    return _avg_pool(input, kernel_size, stride, padding, ceil_mode, count_include_pad, 1)


@macro
def avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """Return the mean over sliding windows of (..., H, W).

    Args:
        input: (N, C, H, W) or (C, H, W).
        kernel_size: The window.
        stride: Step between windows; the window's extent by default.
        padding: Zeros around the image, at most half a window.
        ceil_mode: Whether a last, partly filled window counts.
        count_include_pad: Whether the padding counts in the mean.
        divisor_override: Divides instead of the number of elements.
    """
    return _avg_pool(
        input, kernel_size, stride, padding, ceil_mode, count_include_pad, 2, divisor_override
    )


def _bins(n: int, wanted: int | None) -> list[tuple[int, int]]:
    """Return an even partition of n places: [floor(i n / m), ceil((i + 1) n / m)) for each bin."""
    m = n if wanted is None else wanted
    if m < 1:
        raise ArgumentError("output_size: must be positive.", came=str(m), fix="pass 1 or more")
    return [(k * n // m, -(-(k + 1) * n // m)) for k in range(m)]


def _extents(output_size: Any, rank: int) -> Any:
    return (output_size,) * rank if isinstance(output_size, (int, type(None))) else output_size


def _adaptive_avg(x: Tensor, output_size: Any, rank: int) -> Tensor:
    sizes = _extents(output_size, rank)
    space = tuple(range(x.ndim - rank, x.ndim))
    if all(len(_bins(x.shape[d], n)) == 1 for d, n in zip(space, sizes, strict=True)):
        return x.mean(space, keepdim=True)
    for i, wanted in enumerate(sizes):
        dim = x.ndim - rank + i
        bins = _bins(x.shape[dim], wanted)
        if x.shape[dim] % len(bins) == 0:
            x = x.unflatten(dim, (len(bins), -1)).mean(dim=dim + 1)
            continue
        x = cat([x.narrow(dim, a, b - a).mean(dim=dim, keepdim=True) for a, b in bins], dim)
    return x


def _adaptive_max(x: Tensor, output_size: Any, rank: int, return_indices: bool) -> Any:
    places: list[Tensor] = []
    space = x.shape[x.ndim - rank :]
    # The last dim first: of equal maxima the first in row-major order is taken.
    for i, wanted in reversed(list(enumerate(_extents(output_size, rank)))):
        dim = x.ndim - rank + i
        bins = _bins(x.shape[dim], wanted)
        pieces = [x.narrow(dim, a, b - a) for a, b in bins]
        if return_indices:
            found = [
                p.argmax(dim, keepdim=True) + a for p, (a, _) in zip(pieces, bins, strict=True)
            ]
            best = cat(found, dim)
            places = [best, *[place.gather(dim, best) for place in places]]
        if x.shape[dim] % len(bins) == 0:
            x = _first_max(x.unflatten(dim, (len(bins), -1)), dim + 1)
        else:
            x = cat([_first_max(p, dim).unsqueeze(dim) for p in pieces], dim)
    if not return_indices:
        return x
    flat = places[0]
    for place, n in zip(places[1:], space[1:], strict=True):
        flat = flat * n + place
    return x, flat


def _first_max(x: Tensor, dim: int) -> Tensor:
    best: Tensor = record(ops.MAX, (x,), ((dim,), "first"))
    return best.squeeze(dim)


@macro
def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Return means over an even partition of (..., L) into `output_size` bins."""
    return _adaptive_avg(input, output_size, 1)


@macro
def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Return maxima over an even partition of (..., L); see `adaptive_max_pool2d`."""
    return _adaptive_max(input, output_size, 1, return_indices)


@macro
def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Return means over an even partition of (..., H, W) into `output_size` bins."""
    return _adaptive_avg(input, output_size, 2)


@macro
def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Return maxima over an even partition of (..., H, W) into `output_size` bins.

    Args:
        input: (N, C, H, W) or (C, H, W).
        output_size: One number, or one for each dim; None keeps a dim.
        return_indices: Whether to return (maxima, their positions in the flattened image).
    """
    return _adaptive_max(input, output_size, 2, return_indices)


@macro
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Return input with elements added around its last dims.

    Args:
        input: Any shape.
        pad: (left, right) of the last dim, then of the one before, and so on; negative ones crop.
        mode: "constant", "reflect", "replicate" or "circular".
        value: The constant.
    """
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ArgumentError(
            "pad: takes a pair (before, after) for each of the last dims.",
            came=f"{tuple(pad)} for {input.ndim} dims",
            fix="give an even number of values, at most two for each dim",
        )
    if mode == "constant":
        return _pad_constant(input, pad, value)
    for i in range(len(pad) // 2):
        input = _pad_by_index(input, input.ndim - 1 - i, pad[2 * i], pad[2 * i + 1], mode)
    return input


def _pad_constant(x: Tensor, pads: Sequence[int], value: float) -> Tensor:
    low, high = [0] * x.ndim, [0] * x.ndim
    for i in range(len(pads) // 2):
        dim = x.ndim - 1 - i
        before, after = pads[2 * i], pads[2 * i + 1]
        if before < 0 or after < 0:
            start = max(-before, 0)
            x = x.narrow(dim, start, x.shape[dim] - start - max(-after, 0))
        low[dim], high[dim] = max(before, 0), max(after, 0)
    if not any(low) and not any(high):
        return x
    kind = {"float": float, "bool": bool}.get(x.dtype.kind, int)
    return record(ops.PAD, (x,), (tuple(low), tuple(high), kind(value)))  # type: ignore[no-any-return]


def _pad_by_index(x: Tensor, dim: int, before: int, after: int, mode: str) -> Tensor:
    if mode == "circular" and min(before, after) < 0:  # what is cut off is not come round to
        start, end = max(-before, 0), x.shape[dim] - max(-after, 0)
        x = x.narrow(dim, start, end - start)
        before, after = max(before, 0), max(after, 0)
    n = x.shape[dim]
    places = {
        "reflect": lambda i: abs(i) if i < n else 2 * (n - 1) - i,
        "replicate": lambda i: min(max(i, 0), n - 1),
        "circular": lambda i: i % n,
    }
    if mode not in places or (mode == "reflect" and max(before, after) >= n):
        raise ArgumentError(
            "pad: mode is 'constant', 'reflect' (padding below the extent), 'replicate' or "
            "'circular'.",
            came=f"mode {mode!r}, padding ({before}, {after}) of extent {n}",
            fix="choose another mode or less padding",
        )
    index = tensor([places[mode](i) for i in range(-before, n + after)])
    return x.index_select(dim, index)


# -- space and channels -------------------------------------------------------------------------
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Return (*, C r^2, H, W) as (*, C, H r, W r): every r^2 channels become r by r pixels.

    Raises:
        ShapeError: the channels are no multiple of r^2, or there are fewer than 3 dims.
        ArgumentError: r is not positive.

    Source:
        Shi et al. 2016, "Real-Time Single Image and Video Super-Resolution".

    Example:
        >>> import tenor as tn
        >>> pixel_shuffle(tn.arange(4).reshape(4, 1, 1), 2).tolist()
        [[[0, 1], [2, 3]]]
    """
    (r,) = positive("upscale_factor", upscale_factor, 1)
    channels, height, width = _image("pixel_shuffle", input)
    if channels % (r * r):
        raise ShapeError(
            f"pixel_shuffle: the channels must be a multiple of {r * r}.",
            came=f"input: {tuple(input.shape)}",
            fix=f"make the layer before it give C * {r * r} channels",
            operands=(input,),
        )
    head = tuple(input.shape[:-3])
    cells = input.reshape(*head, channels // (r * r), r, r, height, width)
    turned = cells.movedim((-2, -1), (-4, -2))  # C, H, r, W, r
    return turned.reshape(*head, channels // (r * r), height * r, width * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Return (*, C, H r, W r) as (*, C r^2, H, W): the inverse of `pixel_shuffle`.

    Raises:
        ShapeError: height or width is no multiple of r, or there are fewer than 3 dims.
        ArgumentError: r is not positive.

    Example:
        >>> import tenor as tn
        >>> pixel_unshuffle(tn.tensor([[[0, 1], [2, 3]]]), 2).flatten().tolist()
        [0, 1, 2, 3]
    """
    (r,) = positive("downscale_factor", downscale_factor, 1)
    channels, height, width = _image("pixel_unshuffle", input)
    if height % r or width % r:
        raise ShapeError(
            f"pixel_unshuffle: height and width must be multiples of {r}.",
            came=f"input: {tuple(input.shape)}",
            fix="pad or cut the images first",
            operands=(input,),
        )
    head = tuple(input.shape[:-3])
    cells = input.reshape(*head, channels, height // r, r, width // r, r)
    turned = cells.movedim((-4, -2), (-2, -1))  # C, r, r, H, W
    return turned.reshape(*head, channels * r * r, height // r, width // r)


def _image(name: str, x: Tensor) -> tuple[int, int, int]:
    """Return the channels, the height and the width of (*, C, H, W)."""
    if x.ndim < 3:
        raise ShapeError(
            f"{name}: expects (*, C, H, W).",
            came=f"input: {tuple(x.shape)}",
            fix="add a dim of one channel with unsqueeze(-3)",
            operands=(x,),
        )
    channels, height, width = x.shape[-3:]
    return channels, height, width
