"""Parameter and Buffer: tensors that a module owns."""

from __future__ import annotations

from typing import Any

from tenor.engine.trace import local
from tenor.nn.fresh import fresh
from tenor.tensor import Tensor

__all__ = ["Buffer", "Parameter", "adopt"]


class Parameter(Tensor):
    """A tensor that a module owns and an optimiser updates.

    Args:
        data: The initial value, which is copied.
        requires_grad: Whether a gradient is computed for it.

    Example:
        >>> import tenor as tn
        >>> tn.nn.Parameter(tn.ones(2)).requires_grad
        True
    """

    def __new__(cls, data: Tensor, requires_grad: bool = True) -> Parameter:
        """Make a leaf of its own with the data's value."""
        leaf = super().__new__(cls)
        adopt(leaf, data.detach().clone(), requires_grad)
        return leaf

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        """Return a parameter of its own with the same value, and no gradient yet."""
        made = super().__deepcopy__(memo)
        made._grad = None
        return made  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(Tensor):
    """A tensor that a module keeps and no optimiser updates.

    As a module's attribute it is what `register_buffer` would have made of it.

    Args:
        data: The initial value, which is copied.
        persistent: Whether `state_dict` has it.

    Example:
        >>> import tenor as tn
        >>> model = tn.nn.Module()
        >>> model.mean = tn.nn.Buffer(tn.zeros(2))
        >>> list(model.state_dict())
        ['mean']
    """

    persistent: bool

    def __new__(cls, data: Tensor, *, persistent: bool = True) -> Buffer:
        """Make a leaf of its own with the data's value."""
        leaf = super().__new__(cls)
        leaf.persistent = persistent
        adopt(leaf, data.detach().clone(), data.requires_grad)
        return leaf

    def __init__(self, data: Tensor, *, persistent: bool = True) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Buffer:
        """Return a buffer of its own with the same value."""
        made = super().__deepcopy__(memo)
        made.persistent = self.persistent  # type: ignore[attr-defined]
        return made  # type: ignore[return-value]


def adopt(leaf: Tensor, source: Tensor, requires_grad: bool) -> None:
    """Give a tensor object another's value, as a leaf that nothing made.

    The value stays pending until the constructors that are running have finished.
    """
    leaf.within, leaf.state = source.within, getattr(source, "state", None)  # type: ignore[assignment]
    leaf.buffer, leaf.meta = source.buffer, source.meta
    leaf.base, leaf.segment, leaf.origin = None, None, None
    trace = local.trace
    if leaf.within is trace:
        trace.outs.append(leaf)
    leaf.requires_grad_(requires_grad)
    fresh.pending = True
    fresh.settle()
