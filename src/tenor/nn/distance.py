"""Layers that compare two tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.nn import functional
from tenor.nn.module import Module

if TYPE_CHECKING:
    from tenor.tensor import Tensor

__all__ = ["CosineSimilarity"]


class CosineSimilarity(Module):
    """Return x1 x2 / (max(|x1|, eps) max(|x2|, eps)), products and norms along `dim`.

    Example:
        >>> import tenor as tn
        >>> tn.nn.CosineSimilarity()(tn.tensor([[3.0, 4.0]]), tn.tensor([[-3.0, -4.0]])).tolist()
        [-1.0]
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Return the cosines of the angles."""
        return functional.cosine_similarity(x1, x2, self.dim, self.eps)
