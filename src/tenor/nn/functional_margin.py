"""Losses of pairs and triplets, which are to be apart by a margin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.engine.macro import macro
from tenor.errors import ShapeError
from tenor.nn.functional_activation import softplus_of
from tenor.nn.functional_loss import reduce, same_shape
from tenor.tensor import minimum, where
from tenor.tensor.operands import raised

if TYPE_CHECKING:
    from tenor.tensor import Tensor

__all__ = [
    "cosine_embedding_loss", "hinge_embedding_loss", "margin_ranking_loss", "soft_margin_loss",
    "triplet_margin_loss",
]  # fmt: skip


@macro
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """Return max(0, margin - target (input1 - input2)), reduced.

    Args:
        input1: Any shape.
        input2: The shape of input1.
        target: The shape of input1: 1 where input1 is to be the greater, -1 where input2 is.
        margin: By how much.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> import tenor as tn
        >>> margin_ranking_loss(tn.tensor([2.0]), tn.tensor([0.5]), tn.tensor([-1.0])).item()
        1.5
    """
    same_shape("margin_ranking_loss", input1, input2)
    same_shape("margin_ranking_loss", input1, target)
    input1, input2, target = raised(input1), raised(input2), raised(target)
    return reduce((-target * (input1 - input2) + margin).clamp(min=0.0), reduction)


@macro
def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """Return input where the target is 1, max(0, margin - input) where it is -1, reduced.

    Args:
        input: Distances, any shape.
        target: 1 and -1, the shape of the input.
        margin: How far what does not belong together is to be.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> import tenor as tn
        >>> x, t = tn.tensor([0.5, 0.25]), tn.tensor([1, -1])
        >>> hinge_embedding_loss(x, t, reduction="none").tolist()
        [0.5, 0.75]
    """
    same_shape("hinge_embedding_loss", input, target)
    input = raised(input)
    near = where(target != -1, input, 0.0)
    far = where(target != 1, (margin - input).clamp(min=0.0), 0.0)
    return reduce(near + far, reduction)


@macro
def soft_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Return log(1 + exp(-target input)), reduced, without overflow.

    Args:
        input: Any shape.
        target: 1 and -1, the shape of the input.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> import tenor as tn
        >>> round(soft_margin_loss(tn.zeros(3), tn.ones(3)).item(), 4)
        0.6931
    """
    same_shape("soft_margin_loss", input, target)
    input, target = raised(input), raised(target)
    return reduce(softplus_of(-target * input), reduction)


@macro
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """Return 1 - cos where the target is 1, max(0, cos - margin) where it is -1, reduced.

    Args:
        input1: (N, D) or (D,).
        input2: The shape of input1.
        target: (N,) or (), 1 and -1.
        margin: How alike what does not belong together may be.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: the shapes do not match.

    Example:
        >>> import tenor as tn
        >>> x = tn.tensor([[0.0, 2.0]])
        >>> cosine_embedding_loss(x, tn.tensor([[3.0, 0.0]]), tn.tensor([1])).item()
        1.0
    """
    same_shape("cosine_embedding_loss", input1, input2)
    if input1.ndim not in (1, 2) or target.shape != input1.shape[:-1]:
        raise ShapeError(
            "cosine_embedding_loss: expects vectors (N, D) or (D,) and a target (N,) or ().",
            came=[f"input1: {tuple(input1.shape)}", f"target: {tuple(target.shape)}"],
            fix="give one target for each pair of vectors",
            operands=(input1, target),
        )
    tiny = 1e-12
    squares = ((input1 * input1).sum(-1) + tiny) * ((input2 * input2).sum(-1) + tiny)
    cosine = (input1 * input2).sum(-1) / squares.sqrt()
    near = where(target == 1, 1.0 - cosine, 0.0)
    far = where(target == -1, (cosine - margin).clamp(min=0.0), 0.0)
    return reduce(near + far, reduction)


@macro
def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2,
    eps: float = 1e-6, swap: bool = False, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Return max(0, d(anchor, positive) - d(anchor, negative) + margin), reduced.

    The distance d(x, y) is the p-norm of x - y + eps over the last dim.

    Args:
        anchor: (N, D) or (D,).
        positive: What belongs to the anchor, of its shape.
        negative: What does not, of its shape.
        margin: How much farther the negative is to be.
        p: The norm's order.
        eps: Keeps the distance's gradient finite.
        swap: Take d(positive, negative) where that is less than d(anchor, negative).
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: the shapes differ.

    Source:
        Balntas et al. 2016, "Learning local feature descriptors with triplets and shallow
        convolutional neural networks".

    Example:
        >>> import tenor as tn
        >>> a, near, far = tn.zeros(1, 2), tn.zeros(1, 2), tn.ones(1, 2) * 9
        >>> triplet_margin_loss(a, near, far).item()
        0.0
    """
    same_shape("triplet_margin_loss", anchor, positive)
    same_shape("triplet_margin_loss", anchor, negative)
    near = (anchor - positive + eps).norm(p, dim=-1)
    far = (anchor - negative + eps).norm(p, dim=-1)
    if swap:
        far = minimum(far, (positive - negative + eps).norm(p, dim=-1))
    return reduce((near - far + margin).clamp(min=0.0), reduction)
