"""RMSprop: steps scaled by a running mean of the squared gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.optim.optimizer import Optimizer, check_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tenor.tensor import Tensor

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    """Scale steps by the root of a running mean of the squared gradient (Hinton, 2012).

    v <- alpha v + (1 - alpha) g^2;  s = sqrt(v) + eps, centered sqrt(v - a^2) + eps with a the
    running mean of g;  p <- p - lr g / s, with momentum b <- momentum b + g / s, p <- p - lr b.

    Args:
        params: Parameters, or dicts of them with options of their own.
        lr: The learning rate.
        alpha: How much of the running means is kept.
        eps: Keeps the divisor from 0.
        weight_decay: How much of the parameter is added to its gradient.
        momentum: How much of the running sum of steps is kept.
        centered: Divide by the deviation from the mean gradient.
        maximize: Climb instead.
        foreach: Taken and not needed: all updates are fused.
        capturable: Taken and not needed.

    Raises:
        ArgumentError: an option is out of its domain.
    """

    counted = True
    switches = ("momentum", "centered", "weight_decay", "maximize")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
    ) -> None:
        del foreach, capturable
        check_options(
            "RMSprop", lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum
        )
        defaults = {
            "lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay,
            "momentum": momentum, "centered": centered, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def kept(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the running means and, with momentum, of the running sum."""
        total = ("momentum_buffer",) if group["momentum"] else ()
        mean = ("grad_avg",) if group["centered"] else ()
        return ("square_avg", *total, *mean)

    def numbers(self, group: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return the step size, what the mean keeps and takes, eps, momentum and the decay."""
        del t
        alpha = group["alpha"]
        lr = float(group["lr"])
        return lr, alpha, 1.0 - alpha, group["eps"], group["momentum"], group["weight_decay"]

    def update(
        self, p: Tensor, g: Tensor, state: dict[str, Any], n: list[Tensor], group: dict[str, Any]
    ) -> None:
        """Record one scaled step."""
        lr, keep, taken, eps, momentum, decay = n
        if group["maximize"]:
            g = -g
        if group["weight_decay"]:
            g = g + p * decay
        square = state["square_avg"]
        square.mul_(keep).add_(g * g * taken)
        spread = square
        if group["centered"]:
            mean = state["grad_avg"]
            mean.add_((g - mean) * taken)
            spread = square - mean * mean
        change = g / (spread.sqrt() + eps)
        if group["momentum"]:
            change = state["momentum_buffer"].mul_(momentum).add_(change)
        p.sub_(change * lr)
