"""A match: what several primitives are together; and what patterns ask of nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tenor.export.onnx.elements import carrier
from tenor.ir import op as ops

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tenor.export.onnx.writer import Writer
    from tenor.ir.node import Node

    Emit = Callable[[Writer], str]

__all__ = [
    "Match", "dims_of", "emits", "is_dropped", "number_of", "scaled_of", "sides_of", "unspread",
    "usable",
]  # fmt: skip


class Match(NamedTuple):
    """What a node is.

    Attributes:
        kind: The ONNX operation.
        inputs: What it reads.
        inside: The nodes it stands for, besides the last.
        emit: Appends it and returns its result.
    """

    kind: str
    inputs: tuple[Node, ...]
    inside: tuple[Node, ...]
    emit: Emit


def usable(
    match: Match | None, root: Node, readers: Mapping[Node, list[Node]], ends: set[Node]
) -> bool:
    """Tell whether nobody outside a match reads what is inside, and a kernel takes the dtype."""
    if match is None or carrier(match.kind, match.inputs[0].dtype) is not match.inputs[0].dtype:
        return False
    inside = {*match.inside, root}
    return all(
        x not in ends and all(r in inside for r in readers[x])
        for x in match.inside
        if x.op not in (ops.CONST, ops.EXPAND, ops.LEAF)
    )


# -- looking at nodes ----------------------------------------------------------------------------
def number_of(node: Node) -> float | None:
    """Return the number a node is, spread or not."""
    while node.op is ops.EXPAND:
        node = node.inputs[0]
    return float(node.attrs[0]) if node.op is ops.CONST else None


def sides_of(node: Node) -> Iterator[tuple[Node, Node]]:
    """Yield the operands of a commutative operation, both ways."""
    a, b = node.inputs
    yield a, b
    yield b, a


def scaled_of(node: Node, op: ops.Op = ops.MUL) -> tuple[Node, float] | None:
    """Return x and k of x * k (or of another operation with a number)."""
    if node.op is op:
        for x, k in sides_of(node):
            number = number_of(k)
            if number is not None:
                return x, number
    return None


def unspread(node: Node) -> Node:
    """Return what an expanded value was."""
    return node.inputs[0] if node.op is ops.EXPAND else node


def emits(kind: str, *inputs: Node, **attrs: Any) -> Emit:
    """Return what appends one operation on some values."""
    return lambda w: w.op(kind, [w.value(x) for x in inputs], **attrs)


def is_dropped(node: Node) -> bool:
    """Tell whether a reshape only drops the dims that a reduction left."""
    made = node.inputs[0]
    if made.op.family != "reduce":
        return False
    dims = dims_of(made)
    return node.shape == tuple(n for d, n in enumerate(made.shape) if d not in dims)


def dims_of(node: Node) -> tuple[int, ...]:
    """Return the dims a reduction is over."""
    dims = node.attrs[0]
    return (dims,) if isinstance(dims, int) else tuple(dims)
