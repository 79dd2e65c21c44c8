"""Normalisation: (x - mean) / sqrt(var + eps) * weight + bias, over different dims.

float16 and bfloat16 inputs are normalised in float32 and rounded once, at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tenor.engine.macro import macro
from tenor.errors import ShapeError
from tenor.tensor import no_grad
from tenor.tensor.dims import aliased

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.tensor import Tensor

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "normalize", "rms_norm"]


def _moments(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Return (mean, x - mean, biased variance) over dims, which stay with extent 1."""
    mean = x.mean(dim=dims, keepdim=True)
    centred = x - mean
    return mean, centred, (centred * centred).mean(dim=dims, keepdim=True)


def _affine(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, shape: Sequence[int] | None = None
) -> Tensor:
    """Return x * weight + bias, the two reshaped first where a shape is given."""

    def fitted(given: Tensor) -> Tensor:
        wide = given.to(x.dtype)
        return wide if shape is None else wide.reshape(*shape)

    out = x if weight is None else x * fitted(weight)
    return out if bias is None else out + fitted(bias)


def _check_channels(name: str, x: Tensor, sized: dict[str, Tensor | None]) -> None:
    channels = x.shape_tuple[1]
    for label, given in sized.items():
        if given is not None and given.shape_tuple[0] != channels:
            raise ShapeError(
                f"{name}: expects {given.shape[0]} channels in dim 1 of the input.",
                came=[f"input: {tuple(x.shape)}", f"{label}: {tuple(given.shape)}"],
                fix=f"build the layer for {x.shape[1]} channels, or check the dims' order "
                "(N, C, *space)",
                operands=(x, given),
            )


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return (x - mean) / sqrt(var + eps) * weight + bias, per channel.

    In training mean and biased variance are the batch's, and the running ones move towards the
    batch's mean and unbiased variance by `momentum`, in place; else the running ones are used.

    Args:
        input: (N, C, *).
        running_mean: (C,), or None to use the batch's always.
        running_var: (C,).
        weight: (C,).
        bias: (C,).
        training: Whether to use the batch's statistics.
        momentum: How far the running statistics move.
        eps: Keeps the root away from zero.

    Raises:
        ShapeError: the channels differ, or training meets one value per channel.

    Source:
        Ioffe and Szegedy 2015.
    """
    if not training and running_mean is not None and running_var is not None:
        return _by_running(input, running_mean, running_var, weight, bias, eps)
    affine = {"weight": weight, "bias": bias}
    running = {"running_mean": running_mean, "running_var": running_var}
    _check_channels("batch_norm", input, affine | running)
    x = input.to(input.dtype.compute)
    count = x.numel() // max(x.shape[1], 1)
    if training and count <= 1:
        raise ShapeError(
            "batch_norm: training needs more than one value per channel.",
            came=f"input: {tuple(x.shape)}",
            fix="use a larger batch (drop_last=True leaves a small last one out), or eval()",
            operands=(input,),
        )
    mean, centred, var = _moments(x, (0, *range(2, x.ndim)))
    if training and running_mean is not None and running_var is not None:
        unbiased = var.detach().reshape(-1) * (count / max(count - 1, 1))
        _move(running_mean, mean.detach().reshape(-1), momentum)
        _move(running_var, unbiased, momentum)
    return _scaled(centred, var, weight, bias, eps).to(input.dtype)


@macro
def _by_running(
    input: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    # A call that is found again was given the same shapes, so it is checked here, once.
    sized = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": var}
    _check_channels("batch_norm", input, sized)
    x = input.to(input.dtype.compute)
    column = _column(x)
    centred = x - mean.to(x.dtype).reshape(*column)
    out = _scaled(centred, var.to(x.dtype).reshape(*column), weight, bias, eps)
    return out.to(input.dtype)


def _column(x: Tensor) -> tuple[int, ...]:
    return (1, -1, *[1] * (x.ndim - 2))


def _scaled(
    centred: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Return centred / sqrt(var + eps) * weight + bias, per channel."""
    scale, column = (var + eps).rsqrt(), _column(centred)
    if weight is not None:
        # One factor for each channel, so that the image is passed over once.
        scale = scale * weight.to(centred.dtype).reshape(*column)
    return _affine(centred * scale, None, bias, column)


def _move(running: Tensor, towards: Tensor, momentum: float | Tensor) -> None:
    """Write (1 - momentum) running + momentum towards into the running statistic."""
    with no_grad():
        moved = running * (1.0 - momentum) + towards * momentum
        running.copy_(moved)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return each sample's channels normalised over space.

    Args:
        input: (N, C, *space).
        running_mean: (C,); moves towards the samples' average mean, or is used instead.
        running_var: (C,).
        weight: (C,).
        bias: (C,).
        use_input_stats: Whether the sample's own statistics are used.
        momentum: How far the running statistics move.
        eps: Keeps the root away from zero.

    Raises:
        ShapeError: the channels differ, or there is one value per channel.

    Source:
        Ulyanov et al. 2016.
    """
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    affine = {"weight": weight, "bias": bias}
    running = {"running_mean": running_mean, "running_var": running_var}
    _check_channels("instance_norm", input, affine | running)
    x = input.to(input.dtype.compute)
    dims = tuple(range(2, x.ndim))
    count = x.numel() // max(x.shape[0] * x.shape[1], 1)
    if count <= 1:
        raise ShapeError(
            "instance_norm: needs more than one value per channel and sample.",
            came=f"input: {tuple(x.shape)}",
            fix="use larger images",
            operands=(input,),
        )
    mean, centred, var = _moments(x, dims)
    if running_mean is not None and running_var is not None:
        unbiased = var.detach().flatten(1).mean(dim=0) * (count / (count - 1))
        _move(running_mean, mean.detach().flatten(1).mean(dim=0), momentum)
        _move(running_var, unbiased, momentum)
    column = (1, -1, *[1] * (x.ndim - 2))
    return _affine(centred * (var + eps).rsqrt(), weight, bias, column).to(input.dtype)


def _last_dims(name: str, x: Tensor, normalized_shape: Sequence[int]) -> tuple[int, ...]:
    count = len(normalized_shape)
    if count == 0 or tuple(x.shape[-count:]) != tuple(normalized_shape):
        raise ShapeError(
            f"{name}: the last dims of the input must be {tuple(normalized_shape)}.",
            came=f"input: {tuple(x.shape)}",
            fix="build the layer for the input's last dims",
            operands=(x,),
        )
    return tuple(range(x.ndim - count, x.ndim))


@macro
def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Return (x - mean) / sqrt(var + eps) * weight + bias over the last dims.

    Args:
        input: (..., *normalized_shape).
        normalized_shape: The last dims of the input.
        weight: Of `normalized_shape`.
        bias: Of `normalized_shape`.
        eps: Keeps the root away from zero.

    Raises:
        ShapeError: the last dims of the input are others.

    Source:
        Ba, Kiros and Hinton 2016.
    """
    dims = _last_dims("layer_norm", input, normalized_shape)
    _, centred, var = _moments(input.to(input.dtype.compute), dims)
    return _affine(centred * (var + eps).rsqrt(), weight, bias).to(input.dtype)


@macro
def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Return x / sqrt(mean(x^2) + eps) * weight over the last dims.

    Args:
        input: (..., *normalized_shape).
        normalized_shape: The last dims of the input.
        weight: Of `normalized_shape`.
        eps: Keeps the root away from zero; the machine epsilon of the dtype by default.

    Raises:
        ShapeError: the last dims of the input are others.

    Source:
        Zhang and Sennrich 2019.
    """
    dims = _last_dims("rms_norm", input, normalized_shape)
    x = input.to(input.dtype.compute)
    small = float(np.finfo(x.dtype.numpy).eps) if eps is None else eps
    scaled = x * ((x * x).mean(dim=dims, keepdim=True) + small).rsqrt()
    return _affine(scaled, weight, None).to(input.dtype)


@macro
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Return x normalised over groups of channels and all of space.

    Args:
        input: (N, C, *).
        num_groups: Divides C.
        weight: (C,).
        bias: (C,).
        eps: Keeps the root away from zero.

    Raises:
        ShapeError: the groups do not divide C, or the channels differ.

    Source:
        Wu and He 2018.
    """
    shape = input.shape
    if input.ndim < 2 or shape[1] % num_groups:
        raise ShapeError(
            f"group_norm: {num_groups} groups must divide the channels, dim 1 of the input.",
            came=f"input: {tuple(shape)}",
            fix="choose a divisor of the number of channels",
            operands=(input,),
        )
    _check_channels("group_norm", input, {"weight": weight, "bias": bias})
    inner = input.numel() // max(shape[0] * num_groups, 1)
    grouped = input.to(input.dtype.compute).reshape(shape[0], num_groups, inner)
    _, centred, var = _moments(grouped, (2,))
    out = (centred * (var + eps).rsqrt()).reshape(*shape)
    column = (1, shape[1], *[1] * (input.ndim - 2))
    return _affine(out, weight, bias, column).to(input.dtype)


@macro
@aliased
def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Return x / max(norm(x), eps) along a dim."""
    return input / input.norm(p, dim=dim, keepdim=True).clamp(min=eps)
