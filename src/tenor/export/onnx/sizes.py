"""Sizes that depend on the batch: found by laying the graphs of two batch sizes side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.ir import op as ops

if TYPE_CHECKING:
    from tenor.export.source import Source
    from tenor.ir.node import Node

__all__ = ["Dim", "Rows", "Sizes", "SizesDiffer", "aligned", "fixed"]


class SizesDiffer(Exception):  # noqa: N818 (caught where a fixed batch is the answer)
    """The program of one batch size is not that of another with the batch put in."""


@dataclass(frozen=True)
class Rows:
    """A size of times * batch + plus."""

    times: int
    plus: int


Dim = int | Rows


@dataclass(frozen=True)
class Sizes:
    """Shapes and attributes in which the batch is left open.

    Attributes:
        dims: The shape of each node, where it is not the one the node has.
        attrs: The attributes of each node, where they are not those the node has.
        symbol: What the batch is called; "" where it is fixed.
        source: An input and the dim of it that is the batch.
    """

    dims: dict[Node, tuple[Dim, ...]] = field(default_factory=dict)
    attrs: dict[Node, tuple[Any, ...]] = field(default_factory=dict)
    symbol: str = ""
    source: tuple[Node, int] | None = None


def fixed(dim: Dim) -> int:
    """Return a size that must be known.

    Raises:
        SizesDiffer: It depends on the batch.
    """
    if isinstance(dim, Rows):
        raise SizesDiffer
    return dim


def aligned(one: Source, two: Source, symbol: str) -> Sizes:
    """Return the sizes of the first source's graph with its batch left open.

    Raises:
        SizesDiffer: More than sizes tells the two apart, or no input has the batch for a dim.
    """
    places = {node: i for i, node in enumerate(two.graph.nodes)}
    if len(places) != len(one.graph.nodes) or not _same_weights(one, two):
        raise SizesDiffer
    sizes, batches = Sizes(symbol=symbol), (one.batch, two.batch)
    numbers = {node: i for i, node in enumerate(one.graph.nodes)}
    for a, b in zip(one.graph.nodes, two.graph.nodes, strict=True):
        if a.op is not b.op or [numbers[x] for x in a.inputs] != [places[x] for x in b.inputs]:
            raise SizesDiffer
        sizes.dims[a] = _merged(a.shape, b.shape, batches)
        sizes.attrs[a] = _merged(a.attrs, b.attrs, batches)
    if [numbers[x] for x in one.graph.outputs] != [places[x] for x in two.graph.outputs]:
        raise SizesDiffer
    _check_attributes(sizes)
    return Sizes(sizes.dims, sizes.attrs, symbol, _batch_of(one, sizes))


def _batch_of(source: Source, sizes: Sizes) -> tuple[Node, int]:
    for leaf in source.inputs.values():
        for k, dim in enumerate(sizes.dims[leaf]):
            if dim == Rows(1, 0):
                return leaf, k
    raise SizesDiffer


def _same_weights(one: Source, two: Source) -> bool:
    """Tell whether no weight depends on the batch; most are one array."""
    return list(one.weights) == list(two.weights) and all(
        a is b or np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for a, b in zip(one.weights.values(), two.weights.values(), strict=True)
    )


def _merged(a: Any, b: Any, batches: tuple[int, int]) -> Any:
    """Return what two attributes have in common, with Rows where they differ by the batch."""
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        return tuple(_merged(x, y, batches) for x, y in zip(a, b, strict=True))
    if a is b or a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b)):
        return a
    if type(a) is int and type(b) is int:
        times, rest = divmod(b - a, batches[1] - batches[0])
        if times > 0 and not rest:
            return Rows(times, a - times * batches[0])
    raise SizesDiffer


VARYING: Final = {
    ops.LEAF: (0,), ops.RESHAPE: (0,), ops.EXPAND: (0,), ops.SLICE: (0, 1), ops.IOTA: (0,),
    ops.CONV_INPUT: (0,), ops.WRAP_INDEX: (0,),
}  # fmt: skip
"""The attributes whose rows let them depend on the batch."""


def _check_attributes(sizes: Sizes) -> None:
    """Refuse attributes that depend on the batch where no row can say so."""
    for node, attrs in sizes.attrs.items():
        for k, (value, plain) in enumerate(zip(attrs, node.attrs, strict=True)):
            if value != plain and k not in VARYING.get(node.op, ()) and _varies(value):
                raise SizesDiffer


def _varies(value: Any) -> bool:
    return isinstance(value, Rows) or (
        isinstance(value, tuple) and any(_varies(inner) for inner in value)
    )
