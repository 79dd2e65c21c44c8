"""Losses. They never broadcast, and labels are checked against the number of classes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tenor.errors import ArgumentError, DTypeError, ShapeError

if TYPE_CHECKING:
    from tenor.tensor import Tensor

__all__ = [
    "binary_cross_entropy_with_logits", "cross_entropy", "l1_loss", "mse_loss", "nll_loss",
    "smooth_l1_loss",
]  # fmt: skip


def _same_shape(name: str, x: Tensor, target: Tensor) -> None:
    if x.shape != target.shape:
        raise ShapeError(
            f"{name}: input and target must have one shape; a loss never broadcasts.",
            came=[f"input: {tuple(x.shape)}", f"target: {tuple(target.shape)}"],
            fix=_shape_fix(x, target),
            operands=(),
        )


def _shape_fix(x: Tensor, target: Tensor) -> str:
    if x.ndim == target.ndim + 1 and x.shape[-1] == 1:
        return "drop the last dim: input.squeeze(-1)"
    if target.ndim == x.ndim + 1 and target.shape[-1] == 1:
        return "drop the last dim: target.squeeze(-1)"
    return "bring both to one shape with reshape() or expand()"


def reduce(loss: Tensor, reduction: str, weight: Tensor | None = None) -> Tensor:
    """Return a loss reduced by "mean", "sum" or "none"; a mean over weights where given."""
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":
        return loss.mean() if weight is None else loss.sum() / weight.sum()
    raise ArgumentError(
        "loss: reduction must be 'mean', 'sum' or 'none'.",
        came=repr(reduction),
        fix="choose one of the three",
    )


def mse_loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Return (x - target)^2, reduced.

    Raises:
        ShapeError: the shapes differ.
    """
    _same_shape("mse_loss", x, target)
    difference = x - target
    return reduce(difference * difference, reduction)


def l1_loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Return |x - target|, reduced."""
    _same_shape("l1_loss", x, target)
    return reduce((x - target).abs(), reduction)


def smooth_l1_loss(x: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Return d^2 / (2 beta) where d = |x - target| < beta, else d - beta / 2, reduced."""
    _same_shape("smooth_l1_loss", x, target)
    d = (x - target).abs()
    return reduce((d < beta).where(d * d * (0.5 / beta), d - 0.5 * beta), reduction)


def binary_cross_entropy_with_logits(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Return -[w_p t log s(x) + (1 - t) log(1 - s(x))], s the sigmoid, without overflow.

    Args:
        x: Logits, any shape.
        target: Probabilities in [0, 1], the shape of x.
        weight: Scales each element's loss.
        reduction: "mean", "sum" or "none".
        pos_weight: Scales the first term, e.g. one value a class.

    Raises:
        ShapeError: the shapes differ.
    """
    _same_shape("binary_cross_entropy_with_logits", x, target)
    # softplus(-x) = -log s(x)
    softplus = (-x).relu() + (-x.abs()).exp().log1p()
    if pos_weight is None:
        loss = (1.0 - target) * x + softplus
    else:
        loss = (1.0 - target) * x + ((pos_weight - 1.0) * target + 1.0) * softplus
    return reduce(loss if weight is None else loss * weight, reduction)


def nll_loss(
    log_probability: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Return -log_probability at the target class, reduced.

    Args:
        log_probability: (N, V, *) or (V,).
        target: (N, *) integer classes in [0, V).
        weight: (V,), a weight for each class.
        ignore_index: A class that does not count.
        reduction: "mean" (over weights), "sum" or "none".

    Raises:
        ShapeError: the target's shape is not the input's without the class dim.
        DTypeError: the target is not integer.
        IndexRangeError: a class is out of range; raised when the values are computed.
    """
    dim = _check_classes("nll_loss", log_probability, target)
    keep = target != ignore_index
    safe = keep.where(target, target * 0)
    picked = -log_probability.gather(dim, labels(safe, log_probability.shape[dim]).unsqueeze(dim))
    picked = picked.squeeze(dim)
    scale = keep.to(log_probability.dtype)
    if weight is not None:
        scale = scale * weight[safe]
    loss = keep.where(picked * scale, picked * 0.0)
    return reduce(loss, reduction, scale)


def labels(target: Tensor, classes: int) -> Tensor:
    """Return int64 labels; one outside [0, classes) is found when the values are computed.

    A negative label is moved out of range, since as an index it would count from the end.
    """
    target = target.long()
    return (target < 0).where(target * 0 + classes, target)


def _check_classes(name: str, x: Tensor, target: Tensor) -> int:
    """Check an input with a class dim against integer targets; return the class dim."""
    if not target.dtype.is_integral:
        raise DTypeError(
            f"{name}: class targets must be integers.",
            came=target.dtype.name,
            fix="convert with .long(), or give probabilities of the input's shape",
        )
    dim = 1 if x.ndim > 1 else 0
    wanted = tuple(x.shape[:dim]) + tuple(x.shape[dim + 1 :])
    if tuple(target.shape) != wanted:
        raise ShapeError(
            f"{name}: the target must have the input's shape without the class dim, {wanted}.",
            came=[f"input: {tuple(x.shape)}", f"target: {tuple(target.shape)}"],
            fix="reshape the target; one class per sample, classes in dim 1 of the input",
        )
    return dim


def cross_entropy(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return -sum_v t_v log softmax(x)_v, reduced.

    Args:
        x: Logits, (N, V, *) or (V,).
        target: (N, *) integer classes in [0, V), or probabilities of the shape of x.
        weight: (V,), a weight for each class.
        ignore_index: An integer class that does not count.
        reduction: "mean", "sum" or "none".
        label_smoothing: Mixes the target with the uniform distribution, in [0, 1].

    Raises:
        ShapeError: the shapes do not match; a loss never broadcasts.
        IndexRangeError: a class is out of range; raised when the values are computed.

    Example:
        >>> import tenor as tn
        >>> round(cross_entropy(tn.zeros(1, 2), tn.tensor([0])).item(), 4)
        0.6931
    """
    dim = 1 if x.ndim > 1 else 0
    if not 0.0 <= label_smoothing <= 1.0:
        raise ArgumentError(
            "cross_entropy: label_smoothing must lie in [0, 1].",
            came=f"{label_smoothing}",
            fix="give a share, e.g. 0.1",
        )
    log_probability = x.log_softmax(dim)
    if target.is_floating_point():
        return _soft_cross_entropy(x, log_probability, target, weight, reduction, label_smoothing)
    loss = nll_loss(log_probability, target, weight, ignore_index, reduction)
    if label_smoothing == 0.0:
        return loss
    keep = target != ignore_index
    scaled = log_probability if weight is None else log_probability * _column(weight, x.ndim, dim)
    smooth = -scaled.sum(dim=dim)
    smooth = keep.where(smooth, smooth * 0.0)
    share = keep.to(x.dtype)
    if weight is not None:
        share = share * weight[keep.where(target, target * 0)]
    spread = reduce(smooth, reduction, share)
    return loss * (1.0 - label_smoothing) + spread * (label_smoothing / x.shape[dim])


def _soft_cross_entropy(
    x: Tensor,
    log_probability: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: str,
    label_smoothing: float,
) -> Tensor:
    _same_shape("cross_entropy", x, target)
    dim = 1 if x.ndim > 1 else 0
    if label_smoothing:
        target = target * (1.0 - label_smoothing) + label_smoothing / x.shape[dim]
    loss = -(log_probability * target)
    if weight is not None:
        loss = loss * _column(weight, x.ndim, dim)
    loss = loss.sum(dim=dim)
    if reduction == "mean":
        return loss.sum() / float(max(math.prod(loss.shape), 1))
    return reduce(loss, reduction)


def _column(weight: Tensor, ndim: int, dim: int) -> Tensor:
    return weight.reshape(*[-1 if d == dim else 1 for d in range(ndim)])
