"""Gradients kept from growing too large."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tenor.engine.handle import Handle
from tenor.errors import ArgumentError
from tenor.tensor.creation import zeros
from tenor.tensor.joining import stack
from tenor.tensor.modes import no_grad

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tenor.tensor.tensor import Tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_"]


def _gradients(parameters: Iterable[Tensor] | Tensor) -> list[Tensor]:
    every: Any = [parameters] if isinstance(parameters, Handle) else parameters
    return [p.grad for p in every if p.grad is not None]


def clip_grad_norm_(
    parameters: Iterable[Tensor] | Tensor,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients together so that their norm is at most `max_norm`; return the norm.

    g <- g min(1, max_norm / (norm + 1e-6)), where norm is that of all gradients as one vector.

    Args:
        parameters: Parameters; those without a gradient are left out.
        max_norm: The largest norm allowed.
        norm_type: p of the p-norm; `math.inf` for the largest element.
        error_if_nonfinite: Look at the norm and refuse NaN and infinity.

    Raises:
        ArgumentError: the norm is not finite, and `error_if_nonfinite`.
    """
    grads = _gradients(parameters)
    if not grads:
        return zeros(())
    with no_grad():
        norms = [g.norm(norm_type) for g in grads]
        dtype = norms[0].element_type
        total = stack([n.to(dtype) for n in norms]).norm(norm_type)
        if error_if_nonfinite and not math.isfinite(total.item()):
            raise ArgumentError(
                "clip_grad_norm_: the norm of the gradients must be finite.",
                came=f"{total.item()}",
                fix="look for NaN or infinity in the loss, or lower the learning rate",
            )
        scale = (float(max_norm) / (total + 1e-6)).clamp(max=1.0)
        for g in grads:
            g.mul_(scale.to(g.element_type))
    return total


def clip_grad_value_(parameters: Iterable[Tensor] | Tensor, clip_value: float) -> None:
    """Bring every element of every gradient into [-clip_value, clip_value].

    Args:
        parameters: Parameters; those without a gradient are left out.
        clip_value: The largest magnitude allowed.
    """
    limit = float(clip_value)
    with no_grad():
        for g in _gradients(parameters):
            g.clamp_(-limit, limit)
