"""A table of vectors looked up by integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.errors import ArgumentError, ShapeError
from tenor.nn import functional, init
from tenor.nn.module import Module
from tenor.nn.parameter import Parameter
from tenor.tensor import empty, no_grad

if TYPE_CHECKING:
    from tenor.tensor import Tensor

__all__ = ["Embedding"]


class Embedding(Module):
    """Look rows of a table up by integers.

    The table begins normal with mean 0 and deviation 1; the padding row is zero.

    Args:
        num_embeddings: V, the rows.
        embedding_dim: D, the length of each.
        padding_idx: A row that begins as zeros and gets no gradient.
        max_norm: Rows longer than this are shortened to it when they are looked up.
        norm_type: The norm's order.
        scale_grad_by_freq: Divide each row's gradient by how often the batch looks it up.
        sparse: Taken and not needed: gradients are dense.
        device: "cpu".
        dtype: Of the table; float32 by default.

    Shape:
        (*) integers in [0, V) to (*, D).

    Raises:
        ArgumentError: padding_idx is no row.
        IndexRangeError: an integer is out of range; raised when the values are computed.

    Example:
        >>> import tenor as tn
        >>> tuple(tn.nn.Embedding(10, 4)(tn.tensor([[1, 2, 3]])).shape)
        (1, 3, 4)
    """

    weight: Parameter

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
        max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
        sparse: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        del sparse
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ArgumentError(
                "Embedding: padding_idx must be a row of the table.",
                came=f"{padding_idx} for {num_embeddings} rows",
                fix="give a row, or None",
            )
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.weight = Parameter(empty(num_embeddings, embedding_dim, device=device, dtype=dtype))
        self.reset_parameters()

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None,
        max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:  # fmt: skip
        """Return a layer on given rows (V, D), frozen unless told otherwise.

        Raises:
            ShapeError: the rows are no matrix.
        """
        if embeddings.ndim != 2:
            raise ShapeError(
                "Embedding: the rows must form a matrix (V, D).",
                came=f"{tuple(embeddings.shape)}",
                fix="reshape them",
            )
        rows, length = embeddings.shape
        made = cls(
            rows, length, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse,
            dtype=embeddings.dtype,
        )  # fmt: skip
        made.weight = Parameter(embeddings, requires_grad=not freeze)
        return made

    def reset_parameters(self) -> None:
        """Draw the table again."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    def forward(self, input: Tensor) -> Tensor:
        """Return the rows at the integers."""
        return functional.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
            self.scale_grad_by_freq,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        parts = [f"{self.num_embeddings}, {self.embedding_dim}"]
        if self.padding_idx is not None:
            parts.append(f"padding_idx={self.padding_idx}")
        if self.max_norm is not None:
            parts.append(f"max_norm={self.max_norm}")
        if self.norm_type != 2.0:
            parts.append(f"norm_type={self.norm_type}")
        if self.scale_grad_by_freq:
            parts.append("scale_grad_by_freq=True")
        return ", ".join(parts)
