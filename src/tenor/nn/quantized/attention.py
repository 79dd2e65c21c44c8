"""Attention whose projections have int8 weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.nn.attention import MultiheadAttention as FloatAttention
from tenor.nn.quantized.dynamic import Linear, linear
from tenor.tensor import get_rng_state, set_rng_state

if TYPE_CHECKING:
    from tenor.tensor import Tensor

__all__ = ["MultiheadAttention"]


class MultiheadAttention(FloatAttention):
    """`nn.MultiheadAttention` with int8 projections; what is between them stays as it was.

    `in_proj` stands where `in_proj_weight` did (or `q_proj`, `k_proj` and `v_proj`), and
    `out_proj` is quantised as well. It is made by `from_float`.

    Example:
        >>> import tenor as tn
        >>> attention = tn.nn.MultiheadAttention(8, 2, batch_first=True)
        >>> made = tn.quantization.quantize_dynamic(attention, {tn.nn.MultiheadAttention})
        >>> made.in_proj.weight.dtype, tuple(made(*[tn.ones(3, 5, 8)] * 3)[0].shape)
        (tenor.int8, (3, 5, 8))
    """

    in_proj: Linear | None
    out_proj: Linear  # type: ignore[assignment]

    @classmethod
    def from_float(cls, mod: FloatAttention) -> MultiheadAttention:
        """Return a float layer with its projections quantised.

        Raises:
            ArgumentError: a projection has too many features.
        """
        state = get_rng_state()
        made = cls(
            mod.embed_dim, mod.num_heads, mod.dropout, mod.in_proj_bias is not None,
            mod.bias_k is not None, mod.add_zero_attn, mod.kdim, mod.vdim, mod.batch_first,
        )  # fmt: skip
        set_rng_state(state)  # what was drawn is not used
        whole, bias = mod.in_proj_weight, mod.in_proj_bias
        biases: Any = (None,) * 3 if bias is None else bias.chunk(3)
        made.in_proj = None if whole is None else Linear.from_weight(whole, bias)
        for name, part in zip("qkv", biases, strict=True):
            weight = getattr(mod, f"{name}_proj_weight")
            own = None if weight is None else Linear.from_weight(weight, part)
            made.register_module(f"{name}_proj", own)
            setattr(made, f"{name}_proj_weight", None)
        made.in_proj_weight = made.in_proj_bias = None
        made.out_proj = Linear.from_float(mod.out_proj)
        made.bias_k, made.bias_v = mod.bias_k, mod.bias_v
        made.train(mod.training)
        return made

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Return queries, keys and values (N, *, E)."""
        given = (query, key, value)
        whole = self.in_proj
        if whole is None:
            return tuple(getattr(self, f"{n}_proj")(x) for n, x in zip("qkv", given, strict=True))
        if query is key is value:
            return whole(query).chunk(3, -1)  # type: ignore[no-any-return]
        weights, scales, sums = (x.chunk(3) for x in (whole.weight, whole.scale, whole.sums))
        biases: Any = (None,) * 3 if whole.bias is None else whole.bias.chunk(3)
        parts = zip(given, weights, scales, sums, biases, strict=True)
        return tuple(linear(*part) for part in parts)
