"""Activations as layers; each is the function of the same name in `nn.functional`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.nn import functional, init
from tenor.nn.module import Module
from tenor.nn.parameter import Parameter
from tenor.tensor import empty

if TYPE_CHECKING:
    from tenor.tensor import Tensor

__all__ = [
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmin",
    "Softplus",
    "Softsign",
    "Tanh",
    "Threshold",
]  # fmt: skip


class Identity(Module):
    """Return the input; arguments of any kind are accepted and ignored."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """Return x."""
        return input


class ReLU(Module):
    """Return max(x, 0).

    Example:
        >>> import tenor as tn
        >>> tn.nn.ReLU()(tn.tensor([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return max(x, 0), written into x where `inplace`."""
        return functional.relu(input, self.inplace)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return "inplace=True" if self.inplace else ""


class ReLU6(Module):
    """Return min(max(x, 0), 6)."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return x clamped to [0, 6]."""
        return functional.hardtanh(input, 0.0, 6.0, self.inplace)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return "inplace=True" if self.inplace else ""


class Hardtanh(Module):
    """Return x clamped to [min_val, max_val]."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        self.min_val = min_val
        self.max_val = max_val
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return the clamped x."""
        return functional.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        tail = ", inplace=True" if self.inplace else ""
        return f"min_val={self.min_val}, max_val={self.max_val}{tail}"


class LeakyReLU(Module):
    """Return x where positive, else negative_slope x."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return x, its negative part scaled."""
        return functional.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        tail = ", inplace=True" if self.inplace else ""
        return f"negative_slope={self.negative_slope}{tail}"


class PReLU(Module):
    """Return x where positive, else weight x, the weight learned; He et al. 2015.

    Args:
        num_parameters: 1 for all, or one for each channel, dim 1 of the input.
        init: What the weight begins as.
        device: "cpu".
        dtype: Of the weight; float32 by default.

    Raises:
        ShapeError: there are several weights, but not one for each channel.

    Example:
        >>> import tenor as tn
        >>> tn.nn.PReLU()(tn.tensor([-2.0, 1.0])).tolist()
        [-0.5, 1.0]
    """

    weight: Parameter

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None
    ) -> None:
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to what it began as."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        """Return x, its negative part scaled."""
        return functional.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return f"num_parameters={self.num_parameters}"


class Threshold(Module):
    """Return x where it is above the threshold, else the value."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return x, what is not above the threshold replaced."""
        return functional.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        tail = ", inplace=True" if self.inplace else ""
        return f"threshold={self.threshold}, value={self.value}{tail}"


class ELU(Module):
    """Return x where positive, else alpha (exp(x) - 1)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return x, its negative part bent towards -alpha."""
        return functional.elu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        tail = ", inplace=True" if self.inplace else ""
        return f"alpha={self.alpha}{tail}"


class SELU(Module):
    """Return scale * elu(x, alpha), with the constants that keep mean and variance."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return the scaled elu of x."""
        return functional.selu(input, self.inplace)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return "inplace=True" if self.inplace else ""


class GELU(Module):
    """Return x Phi(x); see `functional.gelu`."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """Return the gelu of x."""
        return functional.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """Return x sigmoid(x)."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return x sigmoid(x)."""
        return functional.silu(input, self.inplace)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return "inplace=True" if self.inplace else ""


class Mish(Module):
    """Return x tanh(softplus(x))."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return x tanh(softplus(x))."""
        return functional.mish(input, self.inplace)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return "inplace=True" if self.inplace else ""


class GLU(Module):
    """Return a sigmoid(b), a and b the halves of x along `dim`; see `functional.glu`."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Return one half of x, gated by the other."""
        return functional.glu(input, self.dim)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return f"dim={self.dim}"


class Hardswish(Module):
    """Return x clamp(x + 3, 0, 6) / 6."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return x clamp(x + 3, 0, 6) / 6."""
        return functional.hardswish(input, self.inplace)


class Hardsigmoid(Module):
    """Return clamp(x + 3, 0, 6) / 6."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return clamp(x + 3, 0, 6) / 6."""
        return functional.hardsigmoid(input, self.inplace)


class Sigmoid(Module):
    """Return 1 / (1 + exp(-x))."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the sigmoid of x."""
        return functional.sigmoid(input)


class LogSigmoid(Module):
    """Return log(sigmoid(x)), without overflow."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the logarithm of the sigmoid of x."""
        return functional.logsigmoid(input)


class Tanh(Module):
    """Return the hyperbolic tangent."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the hyperbolic tangent of x."""
        return functional.tanh(input)


class Softsign(Module):
    """Return x / (1 + |x|)."""

    def forward(self, input: Tensor) -> Tensor:
        """Return x / (1 + |x|)."""
        return functional.softsign(input)


class Softplus(Module):
    """Return log(1 + exp(beta x)) / beta; x itself where beta x exceeds the threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Tensor) -> Tensor:
        """Return the softplus of x."""
        return functional.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Softmax(Module):
    """Return exp(x) scaled to sum to one along `dim`.

    Args:
        dim: The dim; None picks 0 for inputs of 0, 1 or 3 dims, else 1, as PyTorch does.
    """

    def __init__(self, dim: int | None = None) -> None:
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Return the softmax of x."""
        return functional.softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return f"dim={self.dim}"


class Softmin(Module):
    """Return the softmax of -x along `dim`."""

    def __init__(self, dim: int | None = None) -> None:
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Return the softmax of -x."""
        return functional.softmin(input, self.dim)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """Return the logarithm of softmax along `dim`."""

    def __init__(self, dim: int | None = None) -> None:
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Return the logarithm of the softmax of x."""
        return functional.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return f"dim={self.dim}"
