"""Functions of tensors that layers are made of: `import tenor.nn.functional as F`.

Shapes: N batch, C channels, L, H and W space, T time, D features, V classes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.nn.functional_loss import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from tenor.nn.functional_space import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    max_pool1d,
    max_pool2d,
    pad,
)
from tenor.tensor import Tensor, bernoulli_mask, no_grad, one_hot

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool1d", "avg_pool2d", "batch_norm",
    "binary_cross_entropy_with_logits", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "cross_entropy", "dropout", "elu", "embedding", "gelu", "group_norm",
    "hardswish", "l1_loss", "layer_norm", "leaky_relu", "linear", "log_softmax", "max_pool1d",
    "max_pool2d", "mse_loss", "nll_loss", "normalize", "one_hot", "pad", "relu", "rms_norm",
    "scaled_dot_product_attention", "sigmoid", "silu", "smooth_l1_loss", "softmax", "softplus",
    "tanh",
]  # fmt: skip


# -- activations ------------------------------------------------------------------------------
def relu(x: Tensor) -> Tensor:
    """Return max(x, 0); the gradient at 0 is 0."""
    return x.relu()


def sigmoid(x: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-x))."""
    return x.sigmoid()


def tanh(x: Tensor) -> Tensor:
    """Return the hyperbolic tangent."""
    return x.tanh()


def silu(x: Tensor) -> Tensor:
    """Return x * sigmoid(x)."""
    return x * x.sigmoid()


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """Return x * Phi(x), Phi the normal distribution function.

    Args:
        x: Any shape, floating.
        approximate: "none" for erf; "tanh" for
            0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).

    Source:
        Hendrycks and Gimpel 2016, "Gaussian Error Linear Units".
    """
    if approximate == "none":
        return x * 0.5 * ((x * math.sqrt(0.5)).erf() + 1.0)
    if approximate == "tanh":
        inner = (x + x * x * x * 0.044715) * math.sqrt(2.0 / math.pi)
        return x * 0.5 * (inner.tanh() + 1.0)
    raise ArgumentError(
        "gelu: approximate must be 'none' or 'tanh'.",
        came=repr(approximate),
        fix="choose one of the two",
    )


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Return x where positive, else negative_slope * x."""
    return (x > 0).where(x, x * negative_slope)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """Return x where positive, else alpha * (exp(x) - 1)."""
    return (x > 0).where(x, x.minimum(x * 0.0).expm1() * alpha)


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp(x)), without overflow."""
    return x.relu() + (-x.abs()).exp().log1p()


def hardswish(x: Tensor) -> Tensor:
    """Return x * clamp(x + 3, 0, 6) / 6."""
    return x * (x + 3.0).clamp(0.0, 6.0) / 6.0


def softmax(x: Tensor, dim: int) -> Tensor:
    """Return exp(x) scaled to sum to one along a dim."""
    return x.softmax(dim)


def log_softmax(x: Tensor, dim: int) -> Tensor:
    """Return the logarithm of softmax."""
    return x.log_softmax(dim)


# -- linear -----------------------------------------------------------------------------------
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x weight^T + bias.

    Args:
        x: (..., D_in).
        weight: (D_out, D_in).
        bias: (D_out,).

    Raises:
        ShapeError: the last dim of x is not D_in.
    """
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: expects {weight.shape[1]} features in the last dim of the input.",
            came=[f"input: {tuple(x.shape)}", f"weight: {tuple(weight.shape)}"],
            fix=f"feed {weight.shape[1]} features, or build the layer for "
            f"{x.shape[-1] if x.ndim else 1}",
        )
    out = x @ weight.t()
    return out if bias is None else out + bias


def embedding(index: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Return rows of weight.

    Args:
        index: Any shape, integer, in [-V, V).
        weight: (V, D).
        padding_idx: A row that gets no gradient.

    Raises:
        IndexRangeError: an index is out of range; raised when the values are computed.
    """
    if not index.dtype.is_integral:
        raise DTypeError(
            "embedding: the index must be an integer tensor.",
            came=index.dtype.name,
            fix="convert with .long()",
        )
    rows = weight[index]
    if padding_idx is None:
        return rows
    keep = (index != padding_idx).unsqueeze(-1)
    return keep.where(rows, rows.detach())


def normalize(x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Return x / max(norm(x), eps) along a dim."""
    return x / x.norm(p, dim=dim, keepdim=True).clamp(min=eps)


# -- normalisation ----------------------------------------------------------------------------
def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return (x - mean) / sqrt(var + eps) * weight + bias, per channel.

    In training mean and biased variance are the batch's, and the running ones move towards the
    batch's mean and unbiased variance by `momentum`; else the running ones are used.

    Args:
        x: (N, C, *).
        running_mean: (C,), or None to use the batch's always.
        running_var: (C,).
        weight: (C,).
        bias: (C,).
        training: Whether to use the batch's statistics.
        momentum: How far the running statistics move.
        eps: Keeps the root away from zero.

    Source:
        Ioffe and Szegedy 2015.
    """
    dims = (0, *range(2, x.ndim))
    column = (1, -1, *[1] * (x.ndim - 2))
    if training or running_mean is None or running_var is None:
        count = x.numel() // max(x.shape[1], 1)
        if training and count <= 1:
            raise ShapeError(
                "batch_norm: training needs more than one value per channel.",
                came=f"input {tuple(x.shape)}",
                fix="use a larger batch, or call eval()",
            )
        mean = x.mean(dim=dims, keepdim=True)
        centred = x - mean
        var = (centred * centred).mean(dim=dims, keepdim=True)
        if training and running_mean is not None and running_var is not None:
            with no_grad():
                running_mean.mul_(1.0 - momentum).add_(mean.detach().reshape(-1) * momentum)
                unbiased = var.detach().reshape(-1) * (momentum * count / max(count - 1, 1))
                running_var.mul_(1.0 - momentum).add_(unbiased)
    else:
        centred = x - running_mean.reshape(*column)
        var = running_var.reshape(*column)
    scale = (var + eps).rsqrt()
    if weight is not None:
        scale = scale * weight.reshape(*column)
    out = centred * scale
    return out if bias is None else out + bias.reshape(*column)


def layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Return (x - mean) / sqrt(var + eps) * weight + bias over the last dims.

    Args:
        x: (..., *normalized_shape).
        normalized_shape: The last dims of x.
        weight: Of `normalized_shape`.
        bias: Of `normalized_shape`.
        eps: Keeps the root away from zero.

    Source:
        Ba, Kiros and Hinton 2016.
    """
    count = len(normalized_shape)
    if tuple(x.shape[x.ndim - count :]) != tuple(normalized_shape):
        raise ShapeError(
            f"layer_norm: the last dims of the input must be {tuple(normalized_shape)}.",
            came=f"input {tuple(x.shape)}",
            fix="build the layer for the input's last dims",
        )
    dims = tuple(range(x.ndim - count, x.ndim))
    centred = x - x.mean(dim=dims, keepdim=True)
    var = (centred * centred).mean(dim=dims, keepdim=True)
    out = centred * (var + eps).rsqrt()
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


def rms_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float = 1e-6
) -> Tensor:
    """Return x / sqrt(mean(x^2) + eps) * weight over the last dims.

    Source:
        Zhang and Sennrich 2019.
    """
    dims = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    out = x * ((x * x).mean(dim=dims, keepdim=True) + eps).rsqrt()
    return out if weight is None else out * weight


def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Return x normalised over groups of channels and all of space.

    Args:
        x: (N, C, *).
        num_groups: Divides C.
        weight: (C,).
        bias: (C,).
        eps: Keeps the root away from zero.

    Source:
        Wu and He 2018.
    """
    n, c = x.shape[0], x.shape[1]
    if c % num_groups:
        raise ShapeError(
            f"group_norm: {num_groups} groups must divide the channels.",
            came=f"input {tuple(x.shape)}",
            fix="choose a divisor of the number of channels",
        )
    grouped = x.reshape(n, num_groups, -1)
    centred = grouped - grouped.mean(dim=2, keepdim=True)
    var = (centred * centred).mean(dim=2, keepdim=True)
    out = (centred * (var + eps).rsqrt()).reshape(*x.shape)
    column = (1, c, *[1] * (x.ndim - 2))
    out = out if weight is None else out * weight.reshape(*column)
    return out if bias is None else out + bias.reshape(*column)


# -- dropout and attention ----------------------------------------------------------------------
def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Return x with elements zeroed with probability p and the rest scaled by 1 / (1 - p).

    Source:
        Srivastava et al. 2014.
    """
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(
            "dropout: p must lie in [0, 1].", came=f"{p}", fix="give a probability"
        )
    if not training or p == 0.0:
        return x
    if p == 1.0:
        return x * 0.0
    keep = bernoulli_mask(x.shape, 1.0 - p)
    return keep.where(x * (1.0 / (1.0 - p)), x.new_zeros(()))


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Return softmax(query key^T * scale + mask) value.

    Args:
        query: (..., T, D).
        key: (..., S, D).
        value: (..., S, E).
        attn_mask: Broadcasts to (..., T, S): bool (True takes part) or added to the scores.
        dropout_p: Probability of dropping a weight.
        is_causal: Whether position t sees positions up to t only.
        scale: Default 1 / sqrt(D).

    Source:
        Vaswani et al. 2017, "Attention Is All You Need".
    """
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * factor) @ key.transpose(-2, -1)
    mask: Any = attn_mask
    if is_causal:
        if attn_mask is not None:
            raise ArgumentError(
                "scaled_dot_product_attention: give attn_mask or is_causal, not both.",
                came="both",
                fix="fold the causal mask into attn_mask",
            )
        mask = Tensor.ones_bool(scores.shape[-2], scores.shape[-1]).tril()
    if mask is not None:
        if mask.dtype.kind == "bool":
            scores = scores.masked_fill(~mask, -math.inf)
        else:
            scores = scores + mask
    weights = scores.softmax(-1)
    return dropout(weights, dropout_p, training=dropout_p > 0.0) @ value
