"""What a vjp rule is given: one operation of the forward pass, and its output's cotangent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tenor.autograd.part import Part
    from tenor.ir.build import Builder
    from tenor.ir.node import Node

__all__ = ["Cotangents", "Rule", "Tape", "total", "unary"]

Cotangents = tuple["Node | Part | None", ...]
"""One entry for each input: its cotangent, or None where it needs or has none.

A `Part` is put together with others before it is written.
"""


class Tape(Protocol):
    """One forward operation, seen from the backward pass.

    Attributes:
        b: Where the rule writes its operations.
        g: The cotangent of the output; of the output's shape and dtype.
        node: The forward operation: its attributes, shapes and dtypes. It and its inputs may
            live on another trace, so they are never handed to the builder; `x` and `y` are.
    """

    b: Builder

    @property
    def g(self) -> Node:
        """The cotangent of the output."""

    @property
    def node(self) -> Node:
        """The forward operation."""

    def x(self, i: int) -> Node:
        """Return the value of input i; calling it means the value has to be kept."""

    def y(self) -> Node:
        """Return the value of the output; calling it means the value has to be kept."""

    def needs(self, i: int) -> bool:
        """Return whether anybody wants the cotangent of input i."""


Rule = Callable[[Tape], Cotangents]


def total(t: Tape, i: int, g: Node) -> Node:
    """Return a cotangent of input i, summed to () where a scalar met every element."""
    if t.node.inputs[i].shape == g.shape:
        return g
    return t.b.reshape(t.b.sum(g, range(len(g.shape))), ())


def unary(partial: Callable[[Tape], Node | Part]) -> Rule:
    """Return the rule of an operation whose input 0 alone is differentiable.

    Args:
        partial: Writes the cotangent of input 0; called only if it is needed.
    """

    def rule(t: Tape) -> Cotangents:
        others = (None,) * (len(t.node.inputs) - 1)
        return (partial(t) if t.needs(0) else None, *others)

    return rule
