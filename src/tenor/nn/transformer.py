"""Transformer layers: attention and a feed-forward net, each with a residual and a norm."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

from tenor.errors import ArgumentError
from tenor.nn import functional
from tenor.nn.attention import MultiheadAttention
from tenor.nn.container import ModuleList
from tenor.nn.dropout import Dropout
from tenor.nn.linear import Linear
from tenor.nn.module import Module
from tenor.nn.norm import LayerNorm
from tenor.tensor import full

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.tensor import Tensor

__all__ = [
    "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder",
    "TransformerEncoderLayer", "causal_mask",
]  # fmt: skip


def causal_mask(size: int, dtype: Any = None) -> Tensor:
    """Return a mask to be added: -inf above the diagonal, 0 elsewhere."""
    return full((size, size), -math.inf, dtype=dtype).triu(1)


def _activation(name: str, given: str | Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    known: dict[str, Callable[[Tensor], Tensor]] = {
        "relu": functional.relu,
        "gelu": functional.gelu,
    }
    if not isinstance(given, str):
        return given
    if given not in known:
        raise ArgumentError(
            f"{name}: activation must be 'relu', 'gelu' or a function.",
            came=repr(given),
            fix="pass a function of one tensor",
        )
    return known[given]


class Layer(Module):
    """The parts and the order that encoder and decoder layers share.

    Attributes:
        sublayers: How many residual steps there are.
    """

    sublayers: int

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int, dropout: float,
        activation: str | Callable[[Tensor], Tensor], layer_norm_eps: float, batch_first: bool,
        norm_first: bool, bias: bool, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        place = {"device": device, "dtype": dtype}
        self.norm_first = norm_first
        self.activation = _activation(type(self).__name__, activation)
        names = ("self_attn", "multihead_attn")[: self.sublayers - 1]
        for name in names:
            attention = MultiheadAttention(
                d_model, nhead, dropout, bias=bias, batch_first=batch_first, **place
            )
            self.register_module(name, attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **place)
        numbers = range(1, self.sublayers + 1)
        for i in numbers:
            norm = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **place)
            self.register_module(f"norm{i}", norm)
        for i in numbers:
            self.register_module(f"dropout{i}", Dropout(dropout))

    def step(self, number: int, x: Tensor, inner: Callable[[Tensor], Tensor]) -> Tensor:
        """Return x with one residual step, normalised before or after it."""
        norm, dropout = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        if self.norm_first:
            return x + dropout(inner(norm(x)))  # type: ignore[no-any-return]
        return norm(x + dropout(inner(x)))  # type: ignore[no-any-return]

    def feed_forward(self, x: Tensor) -> Tensor:
        """Return linear2(activation(linear1(x)))."""
        out: Tensor = self.linear2(self.dropout(self.activation(self.linear1(x))))
        return out


class TransformerEncoderLayer(Layer):
    """Self-attention, then a feed-forward net, each added to its input and normalised.

    Args:
        d_model: E, the features.
        nhead: Heads of the attention.
        dim_feedforward: Features inside the feed-forward net.
        dropout: Probability of dropping, in training.
        activation: "relu", "gelu" or a function.
        layer_norm_eps: Of the norms.
        batch_first: Whether input and output are (N, T, E) rather than (T, N, E).
        norm_first: Whether norms stand before the steps rather than after.
        bias: Whether projections and norms have biases.
        device: "cpu".
        dtype: Of the parameters; float32 by default.

    Source:
        Vaswani et al. 2017, "Attention Is All You Need".

    Example:
        >>> import tenor as tn
        >>> layer = tn.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        >>> tuple(layer(tn.ones(3, 5, 8)).shape)
        (3, 5, 8)
    """

    sublayers = 2

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = functional.relu,
        layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False,
        bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
            norm_first, bias, device, dtype,
        )  # fmt: skip

    def forward(
        self, src: Tensor, src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None, is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        """Return the layer's output; the masks are those of `MultiheadAttention`."""

        def attend(x: Tensor) -> Tensor:
            out: Tensor = self.self_attn(
                x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal
            )[0]
            return out

        return self.step(2, self.step(1, src, attend), self.feed_forward)


class TransformerDecoderLayer(Layer):
    """Self-attention, attention to a memory, then a feed-forward net, each a residual step.

    The arguments are those of `TransformerEncoderLayer`.
    """

    sublayers = 3

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = functional.relu,
        layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False,
        bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
            norm_first, bias, device, dtype,
        )  # fmt: skip

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None, tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        """Return the layer's output; the masks are those of `MultiheadAttention`."""

        def own(x: Tensor) -> Tensor:
            out: Tensor = self.self_attn(
                x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal
            )[0]
            return out

        def other(x: Tensor) -> Tensor:
            out: Tensor = self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, memory_mask,
                is_causal=memory_is_causal,
            )[0]  # fmt: skip
            return out

        x = self.step(2, self.step(1, tgt, own), other)
        return self.step(3, x, self.feed_forward)


class Stack(Module):
    """Copies of a layer, one after another, and a last norm: what encoder and decoder share."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None) -> None:
        self.layers = ModuleList(copy.deepcopy(layer) for _ in range(num_layers))
        self.num_layers = num_layers
        self.norm = norm

    def run(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the last layer's output, normalised if there is a norm."""
        for layer in self.layers:
            x = layer(x, *args, **kwargs)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(Stack):
    """Stack copies of an encoder layer.

    Args:
        encoder_layer: The layer; every copy begins with its weights.
        num_layers: How many copies.
        norm: Applied at the end.
        enable_nested_tensor: Accepted for PyTorch's sake.
        mask_check: Accepted for PyTorch's sake.
    """

    def __init__(
        self, encoder_layer: Module, num_layers: int, norm: Module | None = None,
        enable_nested_tensor: bool = True, mask_check: bool = True,
    ) -> None:  # fmt: skip
        del enable_nested_tensor, mask_check
        super().__init__(encoder_layer, num_layers, norm)

    def forward(
        self, src: Tensor, mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None, is_causal: bool | None = None,
    ) -> Tensor:  # fmt: skip
        """Return the last layer's output; the masks are those of `MultiheadAttention`."""
        return self.run(src, mask, src_key_padding_mask, bool(is_causal))


class TransformerDecoder(Stack):
    """Stack copies of a decoder layer.

    Args:
        decoder_layer: The layer; every copy begins with its weights.
        num_layers: How many copies.
        norm: Applied at the end.
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__(decoder_layer, num_layers, norm)

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None, tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        """Return the last layer's output; the masks are those of `MultiheadAttention`."""
        return self.run(
            tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
            bool(tgt_is_causal), memory_is_causal,
        )  # fmt: skip
