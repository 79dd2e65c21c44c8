"""Adam and AdamW: steps scaled by running moments of the gradient."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from tenor.optim.optimizer import Optimizer, check_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tenor.tensor import Tensor

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Scale steps by running means of the gradient and of its square (Kingma and Ba, 2014).

    g <- g + weight_decay p;  m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;
    p <- p - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps); with amsgrad the largest v so
    far stands for v.

    Args:
        params: Parameters, or dicts of them with options of their own.
        lr: The learning rate.
        betas: How much of the running means is kept: b1 and b2.
        eps: Keeps the divisor from 0.
        weight_decay: How much of the parameter is added to its gradient (L2).
        amsgrad: Divide by the largest second moment so far.
        maximize: Climb instead.
        foreach: Taken and not needed: all updates are fused.
        capturable: Taken and not needed: every step can be compiled.
        fused: Taken and not needed.
        decoupled_weight_decay: Decay as AdamW does.

    Raises:
        ArgumentError: an option is out of its domain.

    Example:
        >>> import tenor as tn
        >>> w = tn.tensor([1.0, -2.0], requires_grad=True)
        >>> opt = tn.optim.Adam([w], lr=0.5)
        >>> (w * w).sum().backward()
        >>> opt.step()
        >>> w.detach()
        tensor([ 0.5000, -1.5000])
    """

    counted = True
    switches = ("weight_decay", "amsgrad", "maximize", "decoupled_weight_decay")
    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        del foreach, capturable, fused
        name = type(self).__name__
        check_options(name, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay)
        defaults = {
            "lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay,
            "amsgrad": amsgrad, "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay or self.decoupled,
        }  # fmt: skip
        super().__init__(params, defaults)

    def kept(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the running moments."""
        largest = ("max_exp_avg_sq",) if group["amsgrad"] else ()
        return ("exp_avg", "exp_avg_sq", *largest)

    def numbers(self, group: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return the step size, what the moments keep and take, their correction, and the decay."""
        lr, (b1, b2) = float(group["lr"]), group["betas"]
        decay = group["weight_decay"]
        decay = 1.0 - lr * decay if group["decoupled_weight_decay"] else decay
        size, root = lr / (1.0 - b1**t), math.sqrt(1.0 - b2**t)
        return size, 1.0 - b1, b2, 1.0 - b2, root, group["eps"], decay

    def update(
        self, p: Tensor, g: Tensor, state: dict[str, Any], n: list[Tensor], group: dict[str, Any]
    ) -> None:
        """Record one scaled step."""
        size, taken, keep, taken_sq, root, eps, decay = n
        if group["maximize"]:
            g = -g
        if group["weight_decay"]:
            if group["decoupled_weight_decay"]:
                p.mul_(decay)
            else:
                g = g + p * decay
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.add_((g - mean) * taken)
        square.mul_(keep).add_(g * g * taken_sq)
        if group["amsgrad"]:
            largest = state["max_exp_avg_sq"]
            largest.copy_(largest.maximum(square))
            square = largest
        p.sub_(mean / (square.sqrt() / root + eps) * size)


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter itself (Loshchilov and Hutter, 2017).

    p <- (1 - lr weight_decay) p, then Adam's step without decay in the gradient.

    Args:
        params: Parameters, or dicts of them with options of their own.
        lr: The learning rate.
        betas: How much of the running means is kept.
        eps: Keeps the divisor from 0.
        weight_decay: How much of the parameter is taken away, times lr.
        amsgrad: Divide by the largest second moment so far.
        maximize: Climb instead.
        foreach: Taken and not needed: all updates are fused.
        capturable: Taken and not needed.
        fused: Taken and not needed.

    Raises:
        ArgumentError: an option is out of its domain.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad,
            foreach=foreach, maximize=maximize, capturable=capturable, fused=fused,
        )  # fmt: skip
