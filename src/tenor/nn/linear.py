"""Affine maps and changes of shape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tenor.nn import functional, init
from tenor.nn.module import Module
from tenor.nn.parameter import Parameter
from tenor.tensor import empty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.tensor import Tensor

__all__ = ["Flatten", "Linear", "Unflatten"]


class Linear(Module):
    """Map the last dim affinely: y = x weight^T + bias.

    Weight and bias begin uniform on [-1/sqrt(in_features), 1/sqrt(in_features)).

    Args:
        in_features: D_in.
        out_features: D_out.
        bias: Whether to add one.
        device: "cpu".
        dtype: Of the parameters; float32 by default.

    Shape:
        (..., D_in) to (..., D_out).

    Raises:
        ShapeError: the last dim of the input is not D_in.

    Example:
        >>> import tenor as tn
        >>> tuple(tn.nn.Linear(3, 2)(tn.ones(4, 3)).shape)
        (4, 2)
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(empty(out_features, in_features, device=device, dtype=dtype))
        self.register_parameter(
            "bias", Parameter(empty(out_features, device=device, dtype=dtype)) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters again."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5.0))
        if self.bias is not None:
            bound = 1.0 / math.sqrt(self.in_features) if self.in_features else 0.0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """Return x weight^T + bias."""
        return functional.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Flatten(Module):
    """Make one dim of dims start_dim to end_dim.

    Example:
        >>> import tenor as tn
        >>> tuple(tn.nn.Flatten()(tn.ones(2, 3, 4)).shape)
        (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        """Return x with the dims made one."""
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Make several dims of one.

    Example:
        >>> import tenor as tn
        >>> tuple(tn.nn.Unflatten(1, (3, 4))(tn.ones(2, 12)).shape)
        (2, 3, 4)
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        """Return x with the dim split."""
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
