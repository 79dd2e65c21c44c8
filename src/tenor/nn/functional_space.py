"""Convolution, pooling and padding."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tenor.engine.trace import record
from tenor.errors import ArgumentError, ShapeError
from tenor.ir import op as ops
from tenor.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool1d", "avg_pool2d", "conv1d", "conv2d",
    "conv3d", "conv_transpose1d", "conv_transpose2d", "max_pool1d", "max_pool2d", "pad", "spread",
]  # fmt: skip

Extent = "int | Sequence[int]"


def spread(name: str, value: Any, count: int) -> tuple[int, ...]:
    """Return one integer for each spatial dim."""
    values = (value,) * count if isinstance(value, int) else tuple(value)
    if len(values) == 1:
        values = values * count
    if len(values) != count or not all(isinstance(v, int) for v in values):
        raise ArgumentError(
            f"{name}: takes an integer or {count} of them.",
            came=repr(value),
            fix=f"give one value for each of the {count} spatial dims",
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
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((t // 2, t - t // 2) for t in totals)
    return tuple((p, p) for p in spread("padding", padding, len(kernel)))


def _conv(
    x: Tensor, weight: Tensor, bias: Tensor | None,
    stride: Any, padding: Any, dilation: Any, groups: int, rank: int,
) -> Tensor:  # fmt: skip
    if x.ndim == rank + 1:
        return _conv(x.unsqueeze(0), weight, bias, stride, padding, dilation, groups, rank).squeeze(0)
    if x.ndim != rank + 2:
        raise ShapeError(
            f"conv{rank}d: expects an input of {rank + 2} dims (N, C, *space).",
            came=f"{tuple(x.shape)}",
            fix="add the missing dims with unsqueeze()",
        )
    stride, dilation = spread("stride", stride, rank), spread("dilation", dilation, rank)
    pads = _padding(padding, weight.shape[2:], dilation, stride)
    out: Tensor = record(ops.CONV, (x, weight), (stride, pads, dilation, groups))
    return out if bias is None else out + bias.reshape(1, -1, *[1] * rank)


def conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Return the cross-correlation of (N, C, L) with (O, C/groups, K)."""
    return _conv(x, weight, bias, stride, padding, dilation, groups, 1)


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Return the cross-correlation of an image with a bank of kernels.

    y[n, o, i, j] = bias[o] + sum_{c, p, q} x[n, c, i s + p d - pad, j s + q d - pad] w[o, c, p, q]

    Args:
        x: (N, C, H, W), or (C, H, W).
        weight: (O, C/groups, P, Q).
        bias: (O,).
        stride: Step s between outputs.
        padding: Zeros around the image; a number, a pair, "same" or "valid".
        dilation: Step d between the elements of a kernel.
        groups: Splits channels into independent convolutions.

    Raises:
        ShapeError: channels do not match, or the kernel is larger than the padded image.
    """
    return _conv(x, weight, bias, stride, padding, dilation, groups, 2)


def conv3d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Return the cross-correlation of (N, C, D, H, W) with (O, C/groups, K, P, Q)."""
    return _conv(x, weight, bias, stride, padding, dilation, groups, 3)


def _conv_transpose(
    x: Tensor, weight: Tensor, bias: Tensor | None,
    stride: Any, padding: Any, output_padding: Any, groups: int, dilation: Any, rank: int,
) -> Tensor:  # fmt: skip
    if x.ndim != rank + 2 or x.shape[1] != weight.shape[0]:
        raise ShapeError(
            f"conv_transpose{rank}d: the input (N, C, *space) must match the weight (C, O/groups, *K).",
            came=[f"input: {tuple(x.shape)}", f"weight: {tuple(weight.shape)}"],
            fix="check the number of channels",
        )
    strides, dilations = spread("stride", stride, rank), spread("dilation", dilation, rank)
    pads = spread("padding", padding, rank)
    extra = spread("output_padding", output_padding, rank)
    space = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, s, p, d, k, e in zip(
            x.shape[2:], strides, pads, dilations, weight.shape[2:], extra, strict=True
        )
    )
    shape = (x.shape[0], weight.shape[1] * groups, *space)
    attrs = (shape, strides, tuple((p, p) for p in pads), dilations, groups)
    out: Tensor = record(ops.CONV_INPUT, (x, weight), attrs)
    return out if bias is None else out + bias.reshape(1, -1, *[1] * rank)


def conv_transpose1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """Return the transpose of `conv1d` with the same arguments; weight is (C, O/groups, K)."""
    return _conv_transpose(x, weight, bias, stride, padding, output_padding, groups, dilation, 1)


def conv_transpose2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """Return the transpose of `conv2d` with the same arguments; weight is (C, O/groups, P, Q)."""
    return _conv_transpose(x, weight, bias, stride, padding, output_padding, groups, dilation, 2)


# -- pooling ------------------------------------------------------------------------------------
def _windows(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """Return x with a dim of window elements at the end for each of its last dims."""
    rank = len(kernel)
    for i, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True)):
        dim = x.ndim - rank - i + i if i == 0 else x.ndim - rank
        x = record(ops.UNFOLD, (x,), (dim, k, s, d))
    return x


def _pool_arguments(
    name: str, kernel_size: Any, stride: Any, padding: Any, rank: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    kernel = spread("kernel_size", kernel_size, rank)
    steps = kernel if stride is None else spread("stride", stride, rank)
    pads = spread("padding", padding, rank)
    if any(2 * p > k for p, k in zip(pads, kernel, strict=True)):
        raise ArgumentError(
            f"{name}: padding must be at most half the kernel.",
            came=f"padding {pads}, kernel {kernel}",
            fix="use less padding",
        )
    return kernel, steps, pads


def _round_up(
    n: int, k: int, s: int, p: int, d: int, ceil_mode: bool
) -> int:
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
    x: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, rank: int
) -> Tensor:
    kernel, steps, pads = _pool_arguments(f"max_pool{rank}d", kernel_size, stride, padding, rank)
    dilations = spread("dilation", dilation, rank)
    low = -math.inf if x.is_floating_point() else x.dtype_min()
    x = _padded(x, kernel, steps, pads, dilations, ceil_mode, low)
    windows = _windows(x, kernel, steps, dilations)
    dims = tuple(range(windows.ndim - rank, windows.ndim))
    best: Tensor = record(ops.MAX, (windows,), (dims, "first"))
    return best.reshape(*windows.shape[: windows.ndim - rank])


def max_pool1d(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """Return the maximum over sliding windows of (..., L)."""
    return _max_pool(x, kernel_size, stride, padding, dilation, ceil_mode, 1)


def max_pool2d(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """Return the maximum over sliding windows of (..., H, W).

    Args:
        x: (N, C, H, W) or (C, H, W).
        kernel_size: The window.
        stride: Step between windows; the window's extent by default.
        padding: Implicit -inf around the image, at most half a window.
        dilation: Step between the elements of a window.
        ceil_mode: Whether a last, partly filled window counts.
    """
    return _max_pool(x, kernel_size, stride, padding, dilation, ceil_mode, 2)


def _avg_pool(
    x: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
    count_include_pad: bool, rank: int,
) -> Tensor:  # fmt: skip
    kernel, steps, pads = _pool_arguments(f"avg_pool{rank}d", kernel_size, stride, padding, rank)
    ones = (1,) * rank
    exact = count_include_pad and not ceil_mode

    def pooled(t: Tensor, around: Sequence[int]) -> Tensor:
        windows = _windows(_padded(t, kernel, steps, around, ones, ceil_mode, 0.0), kernel, steps, ones)
        dims = tuple(range(windows.ndim - rank, windows.ndim))
        total: Tensor = record(ops.SUM, (windows,), (dims,))
        return total.reshape(*windows.shape[: windows.ndim - rank])

    total = pooled(x, pads)
    if exact or (not any(pads) and not ceil_mode):
        return total / float(math.prod(kernel))
    # Count what lies inside: the image alone, or the image with its padding.
    inside = x.new_ones(x.shape[x.ndim - rank :])
    if count_include_pad:
        around = [(p, p) for p in pads]
        inside = pad(inside, [n for pair in reversed(around) for n in pair], value=1.0)
        return total / pooled(inside, (0,) * rank)[tuple(slice(0, n) for n in total.shape[-rank:])]
    return total / pooled(inside, pads)


def avg_pool1d(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """Return the mean over sliding windows of (..., L)."""
    return _avg_pool(x, kernel_size, stride, padding, ceil_mode, count_include_pad, 1)


def avg_pool2d(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """Return the mean over sliding windows of (..., H, W)."""
    return _avg_pool(x, kernel_size, stride, padding, ceil_mode, count_include_pad, 2)


def _adaptive(x: Tensor, output_size: Any, rank: int, mean: bool) -> Tensor:
    """Pool each spatial dim into bins [floor(i n / m), ceil((i + 1) n / m))."""
    sizes = (output_size,) * rank if isinstance(output_size, (int, type(None))) else output_size
    for i, wanted in enumerate(sizes):
        dim = x.ndim - rank + i
        n = x.shape[dim]
        m = n if wanted is None else wanted
        bins = [(k * n // m, -(-(k + 1) * n // m)) for k in range(m)]
        if n % m == 0:
            parts = x.unflatten(dim, (m, n // m))
            x = parts.mean(dim=dim + 1) if mean else _first_max(parts, dim + 1)
            continue
        pieces = [x.narrow(dim, a, b - a) for a, b in bins]
        x = Tensor.cat(
            [p.mean(dim=dim, keepdim=True) if mean else _first_max(p, dim).unsqueeze(dim) for p in pieces],
            dim,
        )
    return x


def _first_max(x: Tensor, dim: int) -> Tensor:
    best: Tensor = record(ops.MAX, (x,), ((dim,), "first"))
    return best.squeeze(dim)


def adaptive_avg_pool2d(x: Tensor, output_size: Any) -> Tensor:
    """Return means over an even partition of (..., H, W) into `output_size` bins."""
    return _adaptive(x, output_size, 2, mean=True)


def adaptive_max_pool2d(x: Tensor, output_size: Any) -> Tensor:
    """Return maxima over an even partition of (..., H, W) into `output_size` bins."""
    return _adaptive(x, output_size, 2, mean=False)


def pad(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Return x with elements added around its last dims.

    Args:
        x: Any shape.
        pad: (left, right) of the last dim, then of the one before, and so on; negative ones crop.
        mode: "constant", "reflect", "replicate" or "circular".
        value: The constant.
    """
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ArgumentError(
            "pad: takes a pair (before, after) for each of the last dims.",
            came=f"{tuple(pad)} for {x.ndim} dims",
            fix="give an even number of values, at most two for each dim",
        )
    if mode == "constant":
        return _pad_constant(x, pad, value)
    for i in range(len(pad) // 2):
        x = _pad_by_index(x, x.ndim - 1 - i, pad[2 * i], pad[2 * i + 1], mode)
    return x


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
    n = x.shape[dim]
    places = {
        "reflect": lambda i: abs(i) if i < n else 2 * (n - 1) - i,
        "replicate": lambda i: min(max(i, 0), n - 1),
        "circular": lambda i: i % n,
    }
    if mode not in places or (mode == "reflect" and max(before, after) >= n):
        raise ArgumentError(
            "pad: mode is 'constant', 'reflect' (padding below the extent), 'replicate' or 'circular'.",
            came=f"mode {mode!r}, padding ({before}, {after}) of extent {n}",
            fix="choose another mode or less padding",
        )
    index = Tensor.as_tensor([places[mode](i) for i in range(-before, n + after)])
    return x.index_select(dim, index)
