"""Attention of several heads, with the projections around it.

Shapes: T queries, S keys, N batch, E embedding, H heads.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tenor.errors import ArgumentError, ShapeError
from tenor.nn import functional, init
from tenor.nn.linear import Linear
from tenor.nn.module import Module
from tenor.nn.parameter import Parameter
from tenor.tensor import cat, empty, where

if TYPE_CHECKING:
    from tenor.tensor import Tensor

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Module):
    """Let every query look at the keys with several heads and return mixtures of the values.

    heads_h = softmax(q_h k_h^T / sqrt(E / H)) v_h; the heads side by side are projected once more.

    Parameters are PyTorch's: `in_proj_weight` (3E, E), or `q_proj_weight`, `k_proj_weight` and
    `v_proj_weight` where key or value have other features; `in_proj_bias`; `out_proj`.

    Args:
        embed_dim: E, divided by the heads.
        num_heads: H.
        dropout: Probability of dropping an attention weight, in training.
        bias: Whether the projections have biases.
        add_bias_kv: Whether a learned key and value stand at the end of the others.
        add_zero_attn: Whether a key and value of zeros stand at the end of the others.
        kdim: Features of the key; E by default.
        vdim: Features of the value; E by default.
        batch_first: Whether inputs and output are (N, T, E) rather than (T, N, E).
        device: "cpu".
        dtype: Of the parameters; float32 by default.

    Raises:
        ArgumentError: the heads do not divide embed_dim.

    Source:
        Vaswani et al. 2017, "Attention Is All You Need".

    Example:
        >>> import tenor as tn
        >>> attention = tn.nn.MultiheadAttention(8, 2, batch_first=True)
        >>> x = tn.ones(3, 5, 8)
        >>> out, weights = attention(x, x, x)
        >>> tuple(out.shape), tuple(weights.shape)
        ((3, 5, 8), (3, 5, 5))
    """

    in_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
        add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
        vdim: int | None = None, batch_first: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
            raise ArgumentError(
                "MultiheadAttention: num_heads must divide embed_dim.",
                came=f"embed_dim={embed_dim}, num_heads={num_heads}",
                fix="choose a divisor of embed_dim",
            )
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.add_zero_attn = add_zero_attn
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.batch_first = batch_first
        same = self.kdim == self.vdim == embed_dim
        shapes: dict[str, tuple[int, ...] | None] = {
            "in_proj_weight": (3 * embed_dim, embed_dim) if same else None,
            "q_proj_weight": None if same else (embed_dim, embed_dim),
            "k_proj_weight": None if same else (embed_dim, self.kdim),
            "v_proj_weight": None if same else (embed_dim, self.vdim),
            "in_proj_bias": (3 * embed_dim,) if bias else None,
            "bias_k": (1, 1, embed_dim) if add_bias_kv else None,
            "bias_v": (1, 1, embed_dim) if add_bias_kv else None,
        }
        for name, shape in shapes.items():
            made = None if shape is None else Parameter(empty(shape, device=device, dtype=dtype))
            self.register_parameter(name, made)
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the projections' parameters again."""
        for name, p in self._parameters.items():
            if p is not None and name.endswith("_weight"):
                init.xavier_uniform_(p)
            elif p is not None and name.startswith("bias_"):
                init.xavier_normal_(p)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return (output, attention weights or None).

        Args:
            query: (T, N, E), (N, T, E) with batch_first, or (T, E).
            key: (S, N, kdim), and so on.
            value: (S, N, vdim), and so on.
            key_padding_mask: (N, S): bool, True where a key is padding, or added to the scores.
            need_weights: Whether to return the weights.
            attn_mask: (T, S) or (N H, T, S): bool, True where a query must not look, or added.
            average_attn_weights: Whether the weights are (N, T, S), averaged over heads, rather
                than (N, H, T, S).
            is_causal: A hint that attn_mask is causal, which must be given.

        Raises:
            ShapeError: the inputs' dims do not go together.
            ArgumentError: is_causal without attn_mask.
        """
        if is_causal and attn_mask is None:
            raise ArgumentError(
                "MultiheadAttention: is_causal is a hint, and needs attn_mask.",
                came="is_causal=True and no attn_mask",
                fix="pass attn_mask=tn.ones(T, S, dtype=tn.bool).triu(1)",
            )
        batched = query.ndim == 3
        self._check(query, key, value)
        if not batched:
            query, key, value = (x.unsqueeze(0) for x in (query, key, value))
            if key_padding_mask is not None:
                key_padding_mask = key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        q, k, v = self._projected(query, key, value)
        k, v, extra = self._extended(k, v)
        bare = not need_weights and not (self.training and self.dropout > 0.0)
        square = q.shape[1] == k.shape[1] and key_padding_mask is None
        causal = is_causal and bare and square  # the hint is trusted, as PyTorch does
        mask = None if causal else self._mask(q, attn_mask, key_padding_mask, extra)
        out, weights = self._attend(q, k, v, mask, causal, bare)
        if need_weights and average_attn_weights:
            weights = weights.mean(dim=1)
        if not batched:
            out = out.squeeze(0)
            weights = weights.squeeze(0) if need_weights else None
        elif not self.batch_first:
            out = out.transpose(0, 1)
        return out, (weights if need_weights else None)

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        features = (self.embed_dim, self.kdim, self.vdim)
        given = (query, key, value)
        ranks = {x.ndim for x in given}
        fits = len(ranks) == 1 and ranks <= {2, 3}
        if not fits or any(x.shape[-1] != n for x, n in zip(given, features, strict=True)):
            raise ShapeError(
                f"MultiheadAttention: expects query, key and value of {features} features in the "
                "last dim, all of 3 dims or all of 2.",
                came=[f"query: {tuple(query.shape)}", f"key: {tuple(key.shape)}",
                      f"value: {tuple(value.shape)}"],
                fix="check embed_dim, kdim and vdim",
                operands=given,
            )  # fmt: skip

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Return queries, keys and values (N, *, E)."""
        bias = self.in_proj_bias
        biases: tuple[Any, ...] = (None,) * 3 if bias is None else bias.chunk(3)
        weights: tuple[Any, ...]
        if self.in_proj_weight is None:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        elif query is key is value:
            return functional.linear(query, self.in_proj_weight, bias).chunk(3, -1)
        else:
            weights = self.in_proj_weight.chunk(3)
        return tuple(
            functional.linear(x, w, b)
            for x, w, b in zip((query, key, value), weights, biases, strict=True)
        )

    def _extended(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, int]:
        """Return keys and values with those that stand at the end, and how many those are."""
        extra = 0
        if self.bias_k is not None and self.bias_v is not None:
            k, v = (
                cat([x, b.expand(x.shape[0], 1, x.shape[2])], dim=1)
                for x, b in ((k, self.bias_k), (v, self.bias_v))
            )
            extra += 1
        if self.add_zero_attn:
            k, v = (functional.pad(x, (0, 0, 0, 1)) for x in (k, v))
            extra += 1
        return k, v, extra

    def _mask(
        self, q: Tensor, attn: Tensor | None, padding: Tensor | None, extra: int
    ) -> Tensor | None:
        """Return what is added to the scores (N, H, T, S)."""
        mask = None
        if attn is not None:
            mask = _additive(attn, q)
            if mask.ndim == 3:
                mask = mask.reshape(q.shape[0], self.num_heads, *mask.shape[1:])
        if padding is not None:
            column = _additive(padding, q).unsqueeze(1).unsqueeze(1)
            mask = column if mask is None else mask + column
        return mask if mask is None or not extra else functional.pad(mask, (0, extra))

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, bare: bool
    ) -> tuple[Tensor, Any]:
        """Return (output (N, T, E), weights (N, H, T, S)); None for weights nobody needs."""
        width = self.embed_dim // self.num_heads
        q, k, v = (x.unflatten(-1, (self.num_heads, width)).transpose(1, 2) for x in (q, k, v))
        weights = None
        if bare:
            heads = functional.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)
        else:
            scores = (q * (1.0 / math.sqrt(width))) @ k.transpose(-2, -1)
            weights = (scores if mask is None else scores + mask).softmax(-1)
            weights = functional.dropout(weights, self.dropout, self.training)
            heads = weights @ v
        out: Tensor = self.out_proj(heads.transpose(1, 2).flatten(-2))
        return out, weights


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    """Return a mask to be added: -inf where a bool one is True."""
    if mask.dtype.kind != "bool":
        return mask.to(like.dtype)
    return where(mask, like.new_full((), -math.inf), like.new_zeros(()))  # type: ignore[no-any-return]
