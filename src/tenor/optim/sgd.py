"""SGD: gradient descent, with momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.errors import ArgumentError
from tenor.optim.optimizer import Optimizer, check_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tenor.tensor import Tensor

__all__ = ["SGD"]


class SGD(Optimizer):
    """Descend along the gradient, or along a running sum of gradients.

    g <- g + weight_decay p;  b <- momentum b + (1 - dampening) g, at first b <- g;
    p <- p - lr b, with nesterov p - lr (g + momentum b).

    Args:
        params: Parameters, or dicts of them with options of their own.
        lr: The learning rate.
        momentum: How much of the running sum is kept.
        dampening: How much of the gradient is left out of the sum.
        weight_decay: How much of the parameter is added to its gradient.
        nesterov: Look ahead along the sum.
        maximize: Climb instead.
        foreach: Taken and not needed: all updates are fused.
        fused: Taken and not needed.

    Raises:
        ArgumentError: an option is out of its domain.

    Example:
        >>> import tenor as tn
        >>> w = tn.tensor([1.0, 2.0], requires_grad=True)
        >>> opt = tn.optim.SGD([w], lr=0.5)
        >>> (w * w).sum().backward()
        >>> opt.step()
        >>> w.tolist()
        [0.0, 0.0]
    """

    switches = ("momentum", "weight_decay", "nesterov", "maximize")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        del foreach, fused
        check_options("SGD", lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ArgumentError(
                "SGD: nesterov needs a momentum and no dampening.",
                came=f"momentum={momentum}, dampening={dampening}",
                fix="e.g. momentum=0.9, dampening=0",
            )
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def kept(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the running sum's name where there is a momentum."""
        return ("momentum_buffer",) if group["momentum"] else ()

    def numbers(self, group: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return the step size; then the decay; then momentum and what counts of the gradient."""
        taken = 1.0 if t == 1 else 1.0 - group["dampening"]
        decay = (group["weight_decay"],) if group["weight_decay"] else ()
        momentum = (group["momentum"], taken) if group["momentum"] else ()
        return float(group["lr"]), *decay, *momentum

    def update(
        self, p: Tensor, g: Tensor, state: dict[str, Any], n: list[Tensor], group: dict[str, Any]
    ) -> None:
        """Record one descent."""
        lr, *others = n
        if group["maximize"]:
            g = -g
        if group["weight_decay"]:
            decay, *others = others
            g = g + p * decay
        if group["momentum"]:
            momentum, taken = others
            buffer = state["momentum_buffer"]
            buffer.mul_(momentum).add_(g * taken)
            g = g + buffer * momentum if group["nesterov"] else buffer
        p.sub_(g * lr)
