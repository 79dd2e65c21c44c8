"""A node: one value, made by one operation from other values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tenor.ir.dtype import DType
    from tenor.ir.op import Op

__all__ = ["Graph", "Node", "Shape", "size"]

Shape = tuple[int, ...]


def size(shape: Iterable[int]) -> int:
    """Return the number of elements of a shape; 1 for ()."""
    total = 1
    for extent in shape:
        total *= extent
    return total


class Node:
    """One value: an operation, what it reads, and the value's shape and dtype.

    Nodes are compared by identity and never change.

    Attributes:
        op: The primitive; a row of `tenor.ir.op.OPS`.
        inputs: The values it reads.
        attrs: Its static attributes, in the order `op.attrs` names them.
        shape: The value's shape.
        dtype: The value's dtype.
        site: The user's (file, line) that recorded it, where that is known.
    """

    __slots__ = ("attrs", "dtype", "inputs", "op", "shape", "site")

    op: Op
    inputs: tuple[Node, ...]
    attrs: tuple[Any, ...]
    shape: Shape
    dtype: DType
    site: tuple[str, int] | None

    def __init__(
        self, op: Op, inputs: tuple[Node, ...], attrs: tuple[Any, ...], shape: Shape, dtype: DType
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.shape = shape
        self.dtype = dtype
        self.site = None

    def attr(self, name: str) -> Any:
        """Return the attribute of that name."""
        return self.attrs[self.op.attrs.index(name)]

    def __repr__(self) -> str:
        return f"<{self.op.name} {self.dtype.text}{list(self.shape)}>"


class Graph:
    """Nodes in an order in which each comes after its inputs, and which of them are wanted.

    Attributes:
        nodes: Every node, inputs first. LEAF and SCALAR nodes are the graph's parameters, in the
            order they stand.
        outputs: The wanted values, in order.
        updates: Pairs (leaf, output position): the output may be written over the leaf's buffer,
            which nobody else holds (donation).
        codes: The status code of each node that checks its data while it runs; by default one
            more than the node's place.
    """

    __slots__ = ("codes", "nodes", "outputs", "updates")

    def __init__(
        self,
        nodes: Sequence[Node],
        outputs: Sequence[Node],
        updates: Sequence[tuple[Node, int]] = (),
        codes: dict[Node, int] | None = None,
    ) -> None:
        self.nodes = tuple(nodes)
        self.codes = (
            {n: i + 1 for i, n in enumerate(self.nodes) if n.op.name == "wrap_index"}
            if codes is None
            else codes
        )
        self.outputs = tuple(outputs)
        self.updates = tuple(updates)
