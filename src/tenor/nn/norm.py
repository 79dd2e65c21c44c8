"""Normalisation layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.errors import ArgumentError, ShapeError
from tenor.nn import functional, init
from tenor.nn.module import Module
from tenor.nn.parameter import Parameter
from tenor.tensor import empty, int64, no_grad, ones, zeros

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.tensor import Tensor

__all__ = [
    "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d",
    "LayerNorm", "RMSNorm",
]  # fmt: skip


class PerChannel(Module):
    """Running statistics and an affine map for each channel: what batch norms share.

    Attributes:
        ranks: The numbers of dims an input may have.
    """

    ranks: tuple[int, ...]
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self, num_features: int, eps: float, momentum: float | None, affine: bool,
        track_running_stats: bool, device: Any, dtype: Any, bias: bool,
    ) -> None:  # fmt: skip
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            made = Parameter(empty(num_features, device=device, dtype=dtype)) if wanted else None
            self.register_parameter(name, made)
        mean = var = count = None
        if track_running_stats:
            mean = zeros(num_features, device=device, dtype=dtype)
            var = ones(num_features, device=device, dtype=dtype)
            count = zeros((), dtype=int64)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", var)
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the running statistics."""
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Make the affine map the identity, and forget the running statistics."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def check(self, x: Tensor) -> None:
        """Refuse inputs of other ranks or channels."""
        if len(x.shape_tuple) not in self.ranks:
            raise ShapeError(
                f"{type(self).__name__}: expects an input of "
                f"{' or '.join(str(r) for r in self.ranks)} dims.",
                came=f"input {tuple(x.shape)}",
                fix="bring it to (N, C, *space)",
                operands=(x,),
            )

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm(PerChannel):
    """The batch norm of any rank."""

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
        affine: bool = True, track_running_stats: bool = True, device: Any = None,
        dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias
        )

    def forward(self, input: Tensor) -> Tensor:
        """Return x normalised; in training the running statistics move, in place."""
        self.check(input)
        momentum: Any = 0.0 if self.momentum is None else self.momentum
        if self.training and self.num_batches_tracked is not None:
            with no_grad():
                self.num_batches_tracked.add_(1)
                if self.momentum is None:  # a plain average over all batches so far
                    momentum = 1.0 / self.num_batches_tracked.to(input.dtype)
        kept = not self.training or self.track_running_stats
        return functional.batch_norm(
            input,
            self.running_mean if kept else None,
            self.running_var if kept else None,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            momentum,
            self.eps,
        )


class BatchNorm1d(BatchNorm):
    """Normalise each channel of (N, C) or (N, C, L) over the rest; see `BatchNorm2d`."""

    ranks = (2, 3)


class BatchNorm2d(BatchNorm):
    """Normalise each channel of (N, C, H, W) over batch and space.

    y = (x - mean) / sqrt(var + eps) * weight + bias. In training mean and variance are the
    batch's and the running ones move towards them; in evaluation the running ones are used.

    Args:
        num_features: C.
        eps: Keeps the root away from zero.
        momentum: How far the running statistics move; None averages over all batches.
        affine: Whether there are a weight (ones at first) and a bias (zeros).
        track_running_stats: Whether to keep running statistics.
        device: "cpu".
        dtype: Of parameters and statistics; float32 by default.
        bias: Whether there is a bias, where there is a weight.

    Raises:
        ShapeError: the input has other dims, or one value per channel in training.

    Source:
        Ioffe and Szegedy 2015.

    Example:
        >>> import tenor as tn
        >>> norm = tn.nn.BatchNorm2d(3)
        >>> tuple(norm(tn.ones(2, 3, 4, 4)).shape), norm.num_batches_tracked.item()
        ((2, 3, 4, 4), 1)
    """

    ranks = (4,)


class BatchNorm3d(BatchNorm):
    """Normalise each channel of (N, C, D, H, W) over batch and space; see `BatchNorm2d`."""

    ranks = (5,)


class InstanceNorm(PerChannel):
    """The instance norm of any rank."""

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None, *,
        bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias
        )

    def forward(self, input: Tensor) -> Tensor:
        """Return each sample's channels normalised over space."""
        self.check(input)
        if input.ndim < self.ranks[-1]:
            return self.forward(input.unsqueeze(0)).squeeze(0)
        return functional.instance_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )


class InstanceNorm1d(InstanceNorm):
    """Normalise each channel of each sample of (N, C, L) over L; Ulyanov et al. 2016."""

    ranks = (2, 3)


class InstanceNorm2d(InstanceNorm):
    """Normalise each channel of each sample of (N, C, H, W) over space; Ulyanov et al. 2016."""

    ranks = (3, 4)


class LayerNorm(Module):
    """Normalise over the last dims: y = (x - mean) / sqrt(var + eps) * weight + bias.

    Args:
        normalized_shape: The last dims of the input, or one number.
        eps: Keeps the root away from zero.
        elementwise_affine: Whether there are a weight (ones at first) and a bias (zeros).
        bias: Whether there is a bias, where there is a weight.
        device: "cpu".
        dtype: Of the parameters; float32 by default.

    Raises:
        ShapeError: the last dims of the input are others.

    Source:
        Ba, Kiros and Hinton 2016.

    Example:
        >>> import tenor as tn
        >>> tn.nn.LayerNorm(2)(tn.tensor([[1.0, 1.0]])).tolist()
        [[0.0, 0.0]]
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5,
        elementwise_affine: bool = True, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        self.normalized_shape = _extents(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        for name, wanted in (("weight", True), ("bias", bias)):
            made = empty(self.normalized_shape, device=device, dtype=dtype)
            keep = elementwise_affine and wanted
            self.register_parameter(name, Parameter(made) if keep else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Make the affine map the identity."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Return x normalised over its last dims."""
        return functional.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Scale by the root mean square of the last dims: y = x / sqrt(mean(x^2) + eps) * weight.

    Args:
        normalized_shape: The last dims of the input, or one number.
        eps: Keeps the root away from zero; the dtype's machine epsilon by default.
        elementwise_affine: Whether there is a weight (ones at first).
        device: "cpu".
        dtype: Of the weight; float32 by default.

    Source:
        Zhang and Sennrich 2019.

    Example:
        >>> import tenor as tn
        >>> tn.nn.RMSNorm(2, eps=0.0)(tn.tensor([3.0, 3.0])).tolist()
        [1.0, 1.0]
    """

    weight: Parameter | None

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None,
        elementwise_affine: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        self.normalized_shape = _extents(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        made = empty(self.normalized_shape, device=device, dtype=dtype)
        self.register_parameter("weight", Parameter(made) if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Make the weight ones."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return x scaled."""
        return functional.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class GroupNorm(Module):
    """Normalise groups of channels of (N, C, *) over the group and all of space.

    Args:
        num_groups: Divides num_channels.
        num_channels: C.
        eps: Keeps the root away from zero.
        affine: Whether each channel has a weight (ones at first) and a bias (zeros).
        device: "cpu".
        dtype: Of the parameters; float32 by default.
        bias: Whether there is a bias, where there is a weight.

    Raises:
        ArgumentError: num_groups does not divide num_channels.

    Source:
        Wu and He 2018.

    Example:
        >>> import tenor as tn
        >>> tuple(tn.nn.GroupNorm(2, 4)(tn.ones(1, 4, 3)).shape)
        (1, 4, 3)
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
        device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        if num_groups < 1 or num_channels % num_groups:
            raise ArgumentError(
                "GroupNorm: num_groups must divide num_channels.",
                came=f"{num_groups} groups for {num_channels} channels",
                fix="choose a divisor of the number of channels",
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            made = Parameter(empty(num_channels, device=device, dtype=dtype)) if wanted else None
            self.register_parameter(name, made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Make the affine map the identity."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Return x normalised within its groups."""
        return functional.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


def _extents(shape: int | Sequence[int]) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)
