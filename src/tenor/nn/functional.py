"""Functions of tensors that layers are made of: `import tenor.nn.functional as F`.

Shapes: N batch, C channels, L, H and W space, T time, D features, V classes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from tenor.engine.macro import macro
from tenor.engine.trace import local, record
from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.nn.functional_activation import (
    elu,
    gelu,
    glu,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    log_softmax,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softmax,
    softmin,
    softplus,
    softsign,
    tanh,
    threshold,
)
from tenor.nn.functional_loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    poisson_nll_loss,
    smooth_l1_loss,
)
from tenor.nn.functional_margin import (
    cosine_embedding_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    soft_margin_loss,
    triplet_margin_loss,
)
from tenor.nn.functional_norm import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    normalize,
    rms_norm,
)
from tenor.nn.functional_sample import grid_sample, interpolate
from tenor.nn.functional_space import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
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
    pixel_shuffle,
    pixel_unshuffle,
)
from tenor.tensor import bernoulli_mask, broadcast_tensors, empty_like, no_grad, ones, where
from tenor.tensor.dims import aliased
from tenor.tensor.indexing import one_hot, wrapped
from tenor.tensor.operands import lowered
from tenor.tensor.surface import publish

if TYPE_CHECKING:
    from tenor.tensor import Tensor

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "avg_pool1d", "avg_pool2d", "batch_norm", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "cosine_embedding_loss", "cosine_similarity", "cross_entropy", "dropout",
    "dropout1d", "dropout2d", "elu", "embedding", "gelu", "glu", "grid_sample", "group_norm",
    "gumbel_softmax", "hardsigmoid", "hardswish", "hardtanh", "hinge_embedding_loss", "huber_loss",
    "instance_norm", "interpolate", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "linear",
    "log_softmax", "logsigmoid", "margin_ranking_loss", "max_pool1d", "max_pool2d", "mish",
    "mse_loss", "nll_loss", "normalize", "one_hot", "pad", "pixel_shuffle", "pixel_unshuffle",
    "poisson_nll_loss", "prelu", "relu", "relu6", "rms_norm", "scaled_dot_product_attention",
    "selu", "sigmoid", "silu", "smooth_l1_loss", "soft_margin_loss", "softmax", "softmin",
    "softplus", "softsign", "tanh", "threshold", "triplet_margin_loss",
]  # fmt: skip


# -- linear -----------------------------------------------------------------------------------
@macro
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x weight^T + bias.

    Args:
        input: (..., D_in).
        weight: (D_out, D_in), or (D_in,) for one output without a dim of its own.
        bias: (D_out,).

    Raises:
        ShapeError: the last dim of the input is not D_in.
        DTypeError: input and weight are of two dtypes.
    """
    shape, wanted = input.shape, weight.shape[-1]
    if not shape or shape[-1] != wanted:
        raise ShapeError(
            f"linear: expects {wanted} features in the last dim of the input.",
            came=[f"input: {tuple(shape)}", f"weight: {tuple(weight.shape)}"],
            fix=_linear_fix(tuple(shape), wanted),
            operands=(input, weight),
        )
    same_dtype("linear", input, weight)
    # Not weight.t(): a view would have to be told of every step the optimizer takes.
    turned = record(ops.PERMUTE, (weight,), ((1, 0),)) if weight.ndim == 2 else weight
    out = input @ turned
    return out if bias is None else out + lowered(bias)[0]


def same_dtype(name: str, input: Tensor, weight: Tensor) -> None:
    """Refuse an input of another dtype than the weight's, unless both are lowered by autocast."""
    came, wanted = input.element_type, weight.element_type
    if came is not wanted and not local.lowered:
        raise DTypeError(
            f"{name}: the input must have the weight's dtype.",
            came=[f"input: {came.name}", f"weight: {wanted.name}"],
            fix=f"convert the input with .to(tn.{wanted.name})",
            operands=(input, weight),
        )


def _linear_fix(shape: tuple[int, ...], wanted: int) -> str:
    if len(shape) > 1 and math.prod(shape[1:]) == wanted:
        return "flatten the dims after the first: input.flatten(1), or nn.Flatten() before"
    return f"feed {wanted} features, or build the layer for {shape[-1] if shape else 1}"


@macro
def embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None,
    max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:  # fmt: skip
    """Return rows of weight.

    Args:
        input: Any shape, integer, in [0, V).
        weight: (V, D).
        padding_idx: A row that gets no gradient.
        max_norm: Rows looked up that are longer are shortened to this, in place.
        norm_type: The norm's order.
        scale_grad_by_freq: Divide each row's gradient by how often the index holds it.
        sparse: Taken and not needed: gradients are dense.

    Raises:
        DTypeError: the index is not integer.
        IndexRangeError: an index is out of range; raised when the values are computed.
    """
    del sparse
    if not input.dtype.is_integral:
        raise DTypeError(
            "embedding: the index must be an integer tensor.",
            came=input.dtype.name,
            fix="convert with .long()",
            operands=(input,),
        )
    rows = weight.shape[0]
    index = wrapped(input, rows, "row")
    if max_norm is not None:
        _shorten(weight, index, max_norm, norm_type)
    found: Tensor = record(ops.TAKE, (weight, index), (0,))
    if scale_grad_by_freq:
        share = 1.0 / _counts(index, rows, weight)[index].unsqueeze(-1)
        found = found.detach() + (found - found.detach()) * share
    if padding_idx is None:
        return found
    keep = (index != padding_idx % rows).unsqueeze(-1)
    return where(keep, found, found.detach())  # type: ignore[no-any-return]


def _counts(index: Tensor, rows: int, like: Tensor) -> Tensor:
    """Return how often each row is looked up."""
    flat = index.flatten()
    return like.detach().new_zeros(rows).index_add(0, flat, like.detach().new_ones(flat.shape))


def _shorten(weight: Tensor, index: Tensor, max_norm: float, norm_type: float) -> None:
    """Shorten the rows at the index that are longer than max_norm, in place."""
    with no_grad():
        rows = weight.detach()
        length = rows.norm(norm_type, dim=1, keepdim=True)
        used = rows.new_zeros(rows.shape[0]).index_fill(0, index.flatten(), 1.0).unsqueeze(1) > 0
        factor = where(used & (length > max_norm), max_norm / (length + 1e-7), 1.0)
        weight.mul_(factor)


@macro
@aliased
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Return x1 x2 / (max(|x1|, eps) max(|x2|, eps)), products and norms along a dim."""
    x1, x2 = broadcast_tensors(x1, x2)
    lengths = x1.norm(2.0, dim=dim).clamp(min=eps) * x2.norm(2.0, dim=dim).clamp(min=eps)
    return (x1 * x2).sum(dim=dim) / lengths


# -- dropout ----------------------------------------------------------------------------------
def _dropped(
    name: str, input: Tensor, p: float, training: bool, inplace: bool, shape: tuple[int, ...]
) -> Tensor:
    """Return the input with a mask of a shape, broadcast, zeroing it."""
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(f"{name}: p must lie in [0, 1].", came=f"{p}", fix="give a probability")
    if not training or p == 0.0:
        return input
    if p == 1.0:
        result = input * 0.0
    else:
        keep = bernoulli_mask(shape, 1.0 - p)
        result = where(keep, input * (1.0 / (1.0 - p)), input.new_zeros(()))
    return input.copy_(result) if inplace else result


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Return x with elements zeroed with probability p and the rest scaled by 1 / (1 - p).

    Source:
        Srivastava et al. 2014.
    """
    return _dropped("dropout", input, p, training, inplace, tuple(input.shape))


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Return x (N, C, L) or (C, L) with whole channels zeroed with probability p."""
    return _dropped("dropout1d", input, p, training, inplace, (*input.shape[:-1], 1))


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Return x (N, C, H, W) or (C, H, W) with whole channels zeroed with probability p."""
    return _dropped("dropout2d", input, p, training, inplace, (*input.shape[:-2], 1, 1))


@aliased
def gumbel_softmax(
    logits: Tensor, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """Return softmax((logits + g) / tau) for noise g: a draw of classes that has a gradient.

    Args:
        logits: Unnormalised log-probabilities.
        tau: The temperature; the lower, the nearer to one class.
        hard: Return 0 and 1, with the gradient of the soft draw.
        eps: Accepted for PyTorch's sake.
        dim: The classes' dim.

    Source:
        Jang, Gu and Poole 2017; Maddison, Mnih and Teh 2017.
    """
    del eps
    noise = -empty_like(logits.detach()).exponential_().log()
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    chosen = soft.detach().argmax(dim, keepdim=True)
    picked = (soft.detach() * 0).scatter(dim, chosen, 1.0)
    return picked - soft.detach() + soft


# -- attention --------------------------------------------------------------------------------
@macro
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return softmax(query key^T * scale + mask) value.

    Args:
        query: (..., T, D).
        key: (..., S, D).
        value: (..., S, E).
        attn_mask: Broadcasts to (..., T, S): bool (True takes part) or added to the scores. Where
            nothing takes part the result is 0.
        dropout_p: Probability of dropping a weight.
        is_causal: Whether position t sees positions up to t only.
        scale: Default 1 / sqrt(D).
        enable_gqa: Whether several heads of the query (dim -3) share one of key and value.

    Raises:
        ArgumentError: both attn_mask and is_causal are given.
        ShapeError: features or times do not match.

    Source:
        Vaswani et al. 2017, "Attention Is All You Need".
    """
    if query.shape[-1:] != key.shape[-1:] or key.shape[-2:-1] != value.shape[-2:-1]:
        raise ShapeError(
            "scaled_dot_product_attention: expects query (..., T, D), key (..., S, D) and value "
            "(..., S, E).",
            came=[f"query: {tuple(query.shape)}", f"key: {tuple(key.shape)}",
                  f"value: {tuple(value.shape)}"],
            fix="check which dims are time and which are features",
            operands=(query, key, value),
        )  # fmt: skip
    if is_causal and attn_mask is not None:
        raise ArgumentError(
            "scaled_dot_product_attention: give attn_mask or is_causal, not both.",
            came="both",
            fix="fold the causal mask into attn_mask",
        )
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], dim=-3)
    if dropout_p == 0.0 and _in_one_pass(query, key, value, attn_mask):
        return _attended(query, key, value, attn_mask, is_causal, float(factor))
    scores = (query * factor) @ key.transpose(-2, -1)
    if is_causal:
        causal = ones(scores.shape[-2], scores.shape[-1], dtype=np.bool_).tril()
        weights = scores.masked_fill(~causal, -math.inf).softmax(-1)
    elif attn_mask is not None:
        weights = _masked_softmax(scores, attn_mask)
    else:
        weights = scores.softmax(-1)
    return dropout(weights, dropout_p, training=dropout_p > 0.0) @ value


FEW: Final = 16
"""Queries below which packing the keys would cost more than it brings."""


def _in_one_pass(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> bool:
    """Tell whether the attention primitive takes these operands."""
    every = (query, key, value)
    plain = {x.element_type for x in every} in ({dt.float32}, {dt.float64})
    alike = len({tuple(x.shape[:-2]) for x in every}) == 1 and query.ndim >= 2
    some = all(n > 0 for x in every for n in x.shape) and query.shape[-2] >= FEW
    if not plain or not alike or not some or local.lowered:
        return False
    return mask is None or _fits(mask, (*query.shape[:-1], key.shape[-2]), query)


def _fits(mask: Tensor, scores: tuple[int, ...], query: Tensor) -> bool:
    """Tell whether the primitive takes a mask: it has no gradient, and lies like the scores."""
    added = mask.dtype.kind != "bool"
    if mask.requires_grad or (added and mask.element_type is not query.element_type):
        return False
    shape = (1,) * (len(scores) - mask.ndim) + tuple(mask.shape)
    alone = len(scores) <= 4 or all(n == 1 for n in shape[:-2])
    return (
        alone
        and mask.ndim <= len(scores)
        and shape[-1] == scores[-1]
        and all(m in (1, n) for m, n in zip(shape, scores, strict=True))
    )


def _attended(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float
) -> Tensor:
    """Return softmax(scale q k^T + mask) v in one pass."""
    batch = tuple(query.shape[:-2])
    lead = (1, 1, *batch)[-2:] if len(batch) < 2 else (math.prod(batch[:-1]), batch[-1])
    every = [_four_dims(x, (*lead, *x.shape[-2:])) for x in (query, key, value)]
    if mask is not None:
        if mask.dtype.kind == "bool":
            mask = where(mask, query.new_zeros(()), query.new_full((), -math.inf))
        every.append(_four_dims(mask, (*((1,) * 4 + tuple(mask.shape))[-4:],)))
    out = record(ops.ATTENTION, tuple(every), (causal, scale))
    out = record(ops.PERMUTE, (out,), ((0, 2, 1, 3),))
    shape = (*batch, query.shape[-2], value.shape[-1])
    return out if len(batch) == 2 else record(ops.RESHAPE, (out,), (shape,))  # type: ignore[no-any-return]


def _four_dims(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a tensor in a shape of four dims."""
    return x if x.ndim == 4 else record(ops.RESHAPE, (x,), (shape,))


def _masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Return the softmax of what takes part; 0, not NaN, where nothing does."""
    hidden = ~mask if mask.dtype.kind == "bool" else mask == -math.inf
    blind = hidden.all(-1, keepdim=True)
    if mask.dtype.kind == "bool":
        scores = scores.masked_fill(hidden & ~blind, -math.inf)
    else:
        scores = scores + mask.masked_fill(blind, 0.0)
    return scores.softmax(-1).masked_fill(blind, 0.0)


globals().update(publish({name: globals()[name] for name in __all__}, __name__))
