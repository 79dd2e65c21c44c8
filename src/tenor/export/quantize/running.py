"""Rows run through a graph batch by batch, and any of its values looked at."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.engine import backend
from tenor.errors import ArgumentError, IndexRangeError, ShapeError
from tenor.ir import op as ops
from tenor.ir.node import Graph, size
from tenor.runtime.allocator import Buffer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from tenor.export.source import Source
    from tenor.ir.node import Node

    Array = NDArray[Any]

__all__ = ["Batches", "Running", "shown"]

MOST_BYTES: Final = 256 << 20
"""Values looked at in one run; further ones are worked out in another."""
PATIENCE: Final = 2.0
"""Seconds of work before a progress bar is drawn."""


class Batches:
    """Rows of a source's inputs, in batches of the size it has.

    The last batch is filled up with the first rows.

    Args:
        source: What they are for.
        rows: Inputs by name, in the source's order, or the one input's. An input whose first dim
            is not the batch's is given as it is.

    Attributes:
        count: The number of rows.
        size: Rows of a batch.

    Raises:
        ArgumentError: Inputs of other names, or no row.
        ShapeError: Rows that do not fit, or different numbers of them.
    """

    def __init__(self, source: Source, rows: Any) -> None:
        self.source = source
        self.arrays = _named(source, rows)
        self.size = source.batch or 1
        counts: dict[str, int] = {}
        self.rowwise: set[str] = set()
        for name, leaf in source.inputs.items():
            array = self.arrays[name] = _fitted(name, leaf, self.arrays[name])
            led = source.batch and leaf.shape[:1] == (source.batch,)
            if led or (not source.batch and array.shape != leaf.shape):
                self.rowwise.add(name)
                counts[name] = len(array) // (1 if led else leaf.shape[0])
                if not led and len(array) % leaf.shape[0]:
                    raise _unfitting(name, leaf, array)
            elif array.shape != leaf.shape:
                raise _unfitting(name, leaf, array)
        if len(set(counts.values())) > 1 or 0 in counts.values():
            raise ShapeError(
                "quantize: every input needs the same number of rows, at least one.",
                came=[f"{name}: {n}" for name, n in counts.items()],
                fix="give as many rows of each",
            )
        self.count = next(iter(counts.values()), self.size)

    def __len__(self) -> int:
        """Return the number of batches."""
        return math.ceil(self.count / self.size)

    def __iter__(self) -> Iterator[tuple[list[Array], int]]:
        """Yield (the inputs in order, how many of its rows are new) for each batch."""
        for first in range(0, self.count, self.size):
            at = np.arange(first, first + self.size) % self.count
            yield (
                [self._taken(name, at) for name in self.source.inputs],
                min(self.size, self.count - first),
            )

    def _taken(self, name: str, at: Array) -> Array:
        array = self.arrays[name]
        if name not in self.rowwise:
            return array
        if self.source.batch:
            taken: Array = array[at]
            return taken
        rows: Array = array.reshape(self.count, *self.source.inputs[name].shape)[at[0]]
        return rows


class Running:
    """Some values of a source's graph, compiled together.

    Args:
        source: Whose graph.
        wanted: Nodes of it; a leaf is not worked out, and cannot be asked for.
        extra: Further leaves that are given at each run, after the inputs.
    """

    def __init__(self, source: Source, wanted: Sequence[Node], extra: Sequence[Node] = ()) -> None:
        self.wanted = list(wanted)
        self.weights = [Buffer.from_array(np.ascontiguousarray(a)) for a in source.weights.values()]
        self.parts: list[tuple[Graph, Any]] = []
        inputs, weights = list(source.inputs.values()), list(source.leaves.values())
        inner = [n for n in source.graph.nodes if n.op is not ops.LEAF]
        for part in _parts(self.wanted):
            graph = _needed(Graph([*inputs, *extra, *weights, *inner], part))
            self.parts.append((graph, backend.load(graph)))

    def __call__(
        self, inputs: Sequence[Array], weights: Sequence[Buffer] | None = None
    ) -> list[Array]:
        """Return the values for one batch.

        Raises:
            IndexRangeError: An input holds an index out of range.
        """
        given = [Buffer.from_array(np.ascontiguousarray(a)) for a in inputs]
        given += self.weights if weights is None else weights
        found: list[Array] = []
        for graph, runner in self.parts:
            outputs, code, value = runner.run(list(given), [])
            if code:
                node = graph.nodes[code - 1]
                raise IndexRangeError(
                    f"quantize: an index must lie below {node.attr('size')}.",
                    came=str(value),
                    fix="give rows the model can answer",
                )
            found += [b.array(n.dtype.numpy, n.shape)
                      for b, n in zip(outputs, graph.outputs, strict=True)]  # fmt: skip
        return found


def shown(batches: Iterable[Any], what: str, total: int) -> Iterator[Any]:
    """Yield batches, with a progress bar in a terminal once they take over two seconds."""
    begun = time.perf_counter()
    with contextlib.ExitStack() as held:
        bar: Any = None
        for done, batch in enumerate(batches):
            if bar is not None:
                bar.update(bar.task_ids[0], completed=done)
            elif time.perf_counter() - begun > PATIENCE and sys.stderr.isatty():
                bar = held.enter_context(_bar())
                bar.add_task(what, total=total, completed=done)
            yield batch


def _bar() -> Any:
    from rich.console import Console  # noqa: PLC0415 - only where a bar is drawn
    from rich.progress import Progress  # noqa: PLC0415

    return Progress(console=Console(stderr=True), transient=True)


# -- pieces ---------------------------------------------------------------------------------------
def _named(source: Source, rows: Any) -> dict[str, Array]:
    names = list(source.inputs)
    if isinstance(rows, Mapping):
        given = dict(rows)
    elif isinstance(rows, tuple):
        given = dict(zip(names, rows, strict=False)) if len(rows) == len(names) else {}
    else:
        given = dict.fromkeys(names[:1], rows)
    if given.keys() != set(names):
        raise ArgumentError(
            f"quantize: example rows are given for each input: {', '.join(names)}.",
            came=", ".join(map(str, rows)) if isinstance(rows, Mapping) else type(rows).__name__,
            fix="give a dict of arrays by name, a tuple of them, or an array where there is one",
        )
    return given


def _fitted(name: str, leaf: Node, rows: Any) -> Array:
    """Return an input's rows in its dtype."""
    array = rows.numpy() if hasattr(rows, "numpy") else np.asarray(rows)
    wanted = leaf.dtype.numpy
    if array.dtype != wanted:
        if (array.dtype.kind == "f") != (wanted.kind == "f"):
            raise ArgumentError(
                f"quantize: rows of input {name!r} must be {leaf.dtype.name}.",
                came=str(array.dtype),
                fix=f"convert them: rows.astype({leaf.dtype.name!r})",
            )
        array = array.astype(wanted)
    if array.ndim != len(leaf.shape) or array.shape[1:] != leaf.shape[1:]:
        raise _unfitting(name, leaf, array)
    return array


def _unfitting(name: str, leaf: Node, array: Array) -> ShapeError:
    shape = ", ".join(["rows", *map(str, leaf.shape[1:])])
    return ShapeError(
        f"quantize: rows of input {name!r} must be ({shape}).",
        came=str(array.shape),
        fix="one example alone is a row: x[None]",
    )


def _parts(wanted: list[Node]) -> list[list[Node]]:
    """Return nodes in groups that fit in memory together."""
    parts: list[list[Node]] = [[]]
    held = 0
    for node in wanted:
        nbytes = size(node.shape) * node.dtype.itemsize
        if parts[-1] and held + nbytes > MOST_BYTES:
            parts.append([])
            held = 0
        parts[-1].append(node)
        held += nbytes
    return [part for part in parts if part]


def _needed(graph: Graph) -> Graph:
    """Return a graph without what its outputs do not need; leaves stay."""
    wanted = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node in wanted:
            wanted.update(node.inputs)
    kept = [n for n in graph.nodes if n.op is ops.LEAF or n in wanted]
    return Graph(kept, graph.outputs)
