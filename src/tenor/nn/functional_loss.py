"""Losses. They never broadcast, and labels are checked against the number of classes.

Under `tn.autocast` they are computed in float32.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tenor.engine.macro import macro
from tenor.engine.trace import record
from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.ir import op as ops
from tenor.nn.functional_activation import softplus_of
from tenor.tensor import finfo, int64, where
from tenor.tensor.indexing import wrapped
from tenor.tensor.operands import raised

if TYPE_CHECKING:
    from tenor.tensor import Tensor

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "huber_loss",
    "kl_div", "l1_loss", "mse_loss", "nll_loss", "poisson_nll_loss", "reduce", "same_shape",
    "smooth_l1_loss",
]  # fmt: skip


def same_shape(name: str, x: Tensor, target: Tensor) -> None:
    """Refuse a target of another shape than the input's."""
    if x.shape != target.shape:
        raise ShapeError(
            f"{name}: input and target must have one shape; a loss never broadcasts.",
            came=[f"input: {tuple(x.shape)}", f"target: {tuple(target.shape)}"],
            fix=_shape_fix(x, target),
            operands=(x, target),
        )


def _shape_fix(x: Tensor, target: Tensor) -> str:
    if x.ndim == target.ndim + 1 and x.shape[-1] == 1:
        return "drop the last dim: input.squeeze(-1)"
    if target.ndim == x.ndim + 1 and target.shape[-1] == 1:
        return "drop the last dim: target.squeeze(-1)"
    return "bring both to one shape with reshape() or expand()"


def _check_scale(name: str, what: str, x: Tensor, scale: Tensor | None) -> None:
    """Refuse a scale of the elements' losses that would make more of them."""
    if scale is None:
        return
    shape, wanted = scale.shape_tuple, x.shape_tuple
    tail = wanted[len(wanted) - len(shape) :]
    if len(shape) > len(wanted) or any(n not in (1, m) for n, m in zip(shape, tail, strict=True)):
        raise ShapeError(
            f"{name}: {what} must broadcast to the input's shape; a loss never broadcasts.",
            came=[f"input: {wanted}", f"{what}: {shape}"],
            fix="give one value for each element of the last dims, or reshape the input",
            operands=(x, scale),
        )


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


# -- of numbers ---------------------------------------------------------------------------------
@macro
def mse_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """Return (input - target)^2, reduced.

    Args:
        input: Any shape.
        target: The shape of the input.
        reduction: "mean", "sum" or "none".
        weight: The shape of the input; scales each element's loss, and a mean is over weights.

    Raises:
        ShapeError: the shapes differ.
    """
    same_shape("mse_loss", input, target)
    input, target = raised(input), raised(target)
    difference = input - target
    return _weighed("mse_loss", difference * difference, reduction, weight)


@macro
def l1_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """Return |input - target|, reduced.

    Args:
        input: Any shape.
        target: The shape of the input.
        reduction: "mean", "sum" or "none".
        weight: The shape of the input; scales each element's loss, and a mean is over weights.

    Raises:
        ShapeError: the shapes differ.
    """
    same_shape("l1_loss", input, target)
    input, target = raised(input), raised(target)
    return _weighed("l1_loss", (input - target).abs(), reduction, weight)


@macro
def smooth_l1_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """Return d^2 / (2 beta) where d = |input - target| < beta, else d - beta / 2, reduced.

    Raises:
        ShapeError: the shapes differ.
        ArgumentError: beta is negative.
    """
    if beta < 0.0:
        raise ArgumentError("smooth_l1_loss: beta is not negative.", came=f"{beta}", fix="flip it")
    if beta == 0.0:
        return l1_loss(input, target, reduction)
    same_shape("smooth_l1_loss", input, target)
    input, target = raised(input), raised(target)
    d = (input - target).abs()
    return reduce(where(d < beta, d * d * (0.5 / beta), d - 0.5 * beta), reduction)


@macro
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Return d^2 / 2 where d = |input - target| < delta, else delta (d - delta / 2), reduced.

    Args:
        input: Any shape.
        target: The shape of the input.
        reduction: "mean", "sum" or "none".
        delta: Where the loss becomes linear.
        weight: The shape of the input; scales each element's loss. A mean is over elements, as
            PyTorch's is for this loss.

    Raises:
        ShapeError: the shapes differ.
        ArgumentError: delta is not positive.
    """
    if delta <= 0.0:
        raise ArgumentError("huber_loss: delta is positive.", came=f"{delta}", fix="e.g. 1.0")
    same_shape("huber_loss", input, target)
    input, target = raised(input), raised(target)
    d = (input - target).abs()
    loss: Tensor = where(d < delta, d * d * 0.5, (d - 0.5 * delta) * delta)
    if weight is not None:
        _same_weight("huber_loss", loss, weight)
        loss = loss * weight
    return reduce(loss, reduction)


def _weighed(name: str, loss: Tensor, reduction: str, weight: Tensor | None) -> Tensor:
    """Return a loss reduced, each element's scaled where there are weights."""
    if weight is None:
        return reduce(loss, reduction)
    _same_weight(name, loss, weight)
    return reduce(loss * weight, reduction, weight)


def _same_weight(name: str, loss: Tensor, weight: Tensor) -> None:
    if weight.shape != loss.shape:
        raise ShapeError(
            f"{name}: weight must have the input's shape; a loss never broadcasts.",
            came=[f"input: {tuple(loss.shape)}", f"weight: {tuple(weight.shape)}"],
            fix="expand the weight to the input's shape",
            operands=(loss, weight),
        )


# -- of counts ----------------------------------------------------------------------------------
@macro
def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Return exp(input) - target input, reduced: how unlikely counts are, but for a constant.

    Args:
        input: The logarithm of the expected counts, any shape.
        target: Counts, the shape of the input.
        log_input: False where the input is the expected counts themselves, x - target log(x + eps).
        full: Add the constant, by Stirling's formula: t log t - t + log(2 pi t) / 2 where t > 1.
        eps: Keeps the logarithm finite.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> import tenor as tn
        >>> poisson_nll_loss(tn.zeros(2), tn.tensor([1.0, 3.0])).item()
        1.0
    """
    same_shape("poisson_nll_loss", input, target)
    input, target = raised(input), raised(target)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        many = target > 1
        t = where(many, target, 1.0)
        stirling = t * t.log() - t + (t * (2.0 * math.pi)).log() * 0.5
        loss = loss + where(many, stirling, 0.0)
    return reduce(loss, reduction)


# -- of probabilities ---------------------------------------------------------------------------
@macro
def kl_div(
    input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """Return target (log target - input), reduced; 0 where the target is 0.

    Args:
        input: Log-probabilities.
        target: Probabilities of the same shape, or their logarithms.
        reduction: "mean" (over elements), "batchmean" (over the first dim), "sum" or "none".
        log_target: Whether the target holds logarithms.

    Raises:
        ShapeError: the shapes differ.
    """
    same_shape("kl_div", input, target)
    input, target = raised(input), raised(target)
    if log_target:
        loss = target.exp() * (target - input)
    else:
        some = target > 0
        log = where(some, target, 1.0).log()
        loss = where(some, target * log, 0.0) - target * input
    if reduction == "batchmean":
        return loss.sum() / float(max(input.shape[0] if input.ndim else 1, 1))
    return reduce(loss, reduction)


@macro
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Return -[t log x + (1 - t) log(1 - x)], reduced; logarithms are at least -100.

    Args:
        input: Probabilities, any shape.
        target: Probabilities, the shape of the input.
        weight: Scales each element's loss.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: the shapes differ.
    """
    same_shape("binary_cross_entropy", input, target)
    _check_scale("binary_cross_entropy", "weight", input, weight)
    input, target = raised(input), raised(target)
    yes, no = _bounded_log(input), _bounded_log(1.0 - input)
    loss = (target - 1.0) * no - target * yes
    return reduce(loss if weight is None else loss * weight, reduction)


def _bounded_log(x: Tensor) -> Tensor:
    """Return max(log x, -100), whose gradient at 0 is finite: 1e12, or the dtype's largest."""
    zero = x == 0.0
    log = where(zero, 1.0, x).log().clamp(min=-100.0)
    steepest = min(1e12, finfo(log.dtype).max)
    return where(zero, x * steepest - 100.0, log)  # type: ignore[no-any-return]


@macro
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Return -[w_p t log s(x) + (1 - t) log(1 - s(x))], s the sigmoid, without overflow.

    Args:
        input: Logits, any shape.
        target: Probabilities in [0, 1], the shape of the input.
        weight: Scales each element's loss.
        reduction: "mean", "sum" or "none".
        pos_weight: Scales the first term, e.g. one value a class.

    Raises:
        ShapeError: the shapes differ.
    """
    same_shape("binary_cross_entropy_with_logits", input, target)
    _check_scale("binary_cross_entropy_with_logits", "weight", input, weight)
    _check_scale("binary_cross_entropy_with_logits", "pos_weight", input, pos_weight)
    input, target = raised(input), raised(target)
    softplus = softplus_of(-input)  # -log s(x)
    if pos_weight is None:
        loss = (1.0 - target) * input + softplus
    else:
        loss = (1.0 - target) * input + ((pos_weight - 1.0) * target + 1.0) * softplus
    return reduce(loss if weight is None else loss * weight, reduction)


# -- of classes ---------------------------------------------------------------------------------
@macro
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Return -input at the target class, reduced.

    Args:
        input: Log-probabilities, (N, V, *) or (V,).
        target: (N, *) integer classes in [0, V).
        weight: (V,), a weight for each class.
        ignore_index: A class that does not count.
        reduction: "mean" (over weights), "sum" or "none".

    Raises:
        ShapeError: the target's shape is not the input's without the class dim.
        DTypeError: the target is not integer.
        LabelError: a class is out of range; raised when the values are computed.
    """
    dim = _check_classes("nll_loss", input, target, weight)
    keep, own, share = _shares(input, target, weight, ignore_index, dim)
    picked = where(own, -input, input.new_zeros(())).sum(dim=dim)
    loss = where(keep, picked * share, picked.new_zeros(()))
    return reduce(loss, reduction, share)


def _shares(
    x: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, dim: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (which targets count, where each class is the target's, each target's weight).

    A class is compared with the target, not looked up by it: the comparison fuses with whatever
    made the input and with its gradient, which then need not be stored.
    """
    keep = target != ignore_index
    classes = x.shape[dim]
    label = wrapped(where(keep, target, target.new_zeros(())), classes, "label")
    numbers = record(ops.IOTA, (), (classes, int64))
    own = label.unsqueeze(dim) == numbers.reshape(*_column(classes, x.ndim, dim))
    share = keep.to(x.dtype)
    if weight is not None:
        share = share * record(ops.TAKE, (weight, label), (0,))
    return keep, own, share


def _check_classes(name: str, x: Tensor, target: Tensor, weight: Tensor | None) -> int:
    """Check an input with a class dim against integer targets; return the class dim."""
    if not target.dtype.is_integral:
        raise DTypeError(
            f"{name}: class targets must be integers.",
            came=target.dtype.name,
            fix="convert with .long(), or give probabilities of the input's shape",
            operands=(target,),
        )
    dim = 1 if x.ndim > 1 else 0
    wanted = tuple(x.shape[:dim]) + tuple(x.shape[dim + 1 :])
    if x.ndim == 0 or tuple(target.shape) != wanted:
        raise ShapeError(
            f"{name}: the target must have the input's shape without the class dim, {wanted}.",
            came=[f"input: {tuple(x.shape)}", f"target: {tuple(target.shape)}"],
            fix=_target_fix(x, target, wanted),
            operands=(x, target),
        )
    _check_class_weight(name, x, weight, dim)
    return dim


def _check_class_weight(name: str, x: Tensor, weight: Tensor | None, dim: int) -> None:
    if weight is not None and tuple(weight.shape) != (x.shape[dim],):
        raise ShapeError(
            f"{name}: weight must have one value for each of {x.shape[dim]} classes.",
            came=[f"input: {tuple(x.shape)}", f"weight: {tuple(weight.shape)}"],
            fix="give a vector of weights, in the order of the classes",
            operands=(x, weight),
        )


def _target_fix(x: Tensor, target: Tensor, wanted: tuple[int, ...]) -> str:
    if target.shape == x.shape:
        return "pass class numbers, e.g. target.argmax(1), or floating probabilities"
    if tuple(target.shape) == (*wanted, 1):
        return "drop the last dim: target.squeeze(-1)"
    if x.ndim == 3 and tuple(target.shape) == tuple(x.shape[:2]):
        return "classes go in dim 1: input.flatten(0, 1) and target.flatten(), or a transpose"
    return "reshape the target: one class per sample, classes in dim 1 of the input"


@macro
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return -sum_v t_v log softmax(x)_v, reduced.

    Args:
        input: Logits, (N, V, *) or (V,).
        target: (N, *) integer classes in [0, V), or probabilities of the shape of the input.
        weight: (V,), a weight for each class.
        ignore_index: An integer class that does not count.
        reduction: "mean", "sum" or "none".
        label_smoothing: Mixes the target with the uniform distribution, in [0, 1].

    Raises:
        ShapeError: the shapes do not match; a loss never broadcasts.
        LabelError: a class is out of range; raised when the values are computed.

    Example:
        >>> import tenor as tn
        >>> round(cross_entropy(tn.zeros(1, 2), tn.tensor([0])).item(), 4)
        0.6931
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise ArgumentError(
            "cross_entropy: label_smoothing must lie in [0, 1].",
            came=f"{label_smoothing}",
            fix="give a share, e.g. 0.1",
        )
    if target.is_floating_point():
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing)
    dim = _check_classes("cross_entropy", input, target, weight)
    log_probability = input.log_softmax(dim)
    keep, own, share = _shares(input, target, weight, ignore_index, dim)
    zero = input.new_zeros(())
    picked = where(own, -log_probability, zero).sum(dim=dim)
    loss = reduce(where(keep, picked * share, zero), reduction, share)
    if label_smoothing == 0.0:
        return loss
    scaled = log_probability
    if weight is not None:
        scaled = scaled * weight.reshape(*_column(-1, input.ndim, dim))
    spread = reduce(where(keep, -scaled.sum(dim=dim), zero), reduction, share)
    return loss * (1.0 - label_smoothing) + spread * (label_smoothing / input.shape[dim])


def _soft_cross_entropy(
    x: Tensor, target: Tensor, weight: Tensor | None, reduction: str, label_smoothing: float
) -> Tensor:
    if target.ndim == x.ndim - 1:
        raise ShapeError(
            "cross_entropy: floating targets are probabilities of the input's shape; a loss never "
            "broadcasts.",
            came=[f"input: {tuple(x.shape)}", f"target: {tuple(target.shape)}"],
            fix="class numbers are integers: target.long()",
            operands=(x, target),
        )
    same_shape("cross_entropy", x, target)
    dim = 1 if x.ndim > 1 else 0
    _check_class_weight("cross_entropy", x, weight, dim)
    if label_smoothing:
        target = target * (1.0 - label_smoothing) + label_smoothing / x.shape[dim]
    loss = -(x.log_softmax(dim) * target)
    if weight is not None:
        loss = loss * weight.reshape(*_column(-1, x.ndim, dim))
    loss = loss.sum(dim=dim)
    if reduction == "mean":
        return loss.sum() / float(max(math.prod(loss.shape), 1))
    return reduce(loss, reduction)


def _column(extent: int, ndim: int, dim: int) -> list[int]:
    """Return a shape of ones but for one dim."""
    return [extent if d == dim else 1 for d in range(ndim)]
