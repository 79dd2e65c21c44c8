"""A model run with eight bits switched on and off, layer by layer, in one program.

The program holds the model twice: in float32, and with every rounding behind a switch and every
weight given anew at each run. So measuring each layer alone compiles once, not once a layer; and
what comes back of a layer is two sums, not its values.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.export.copying import Copy
from tenor.export.quantize.layers import Layer, layers
from tenor.export.quantize.rewriting import real_weight, rounded
from tenor.export.quantize.running import Batches, Running, shown
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import Graph, Node, size
from tenor.runtime.allocator import Buffer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tenor.export.quantize.record import Quantization

    Array = NDArray[Any]

__all__ = ["Compared", "Measured", "Measuring"]

ALONE_ROWS: Final = 64
"""Rows on which each layer is quantised alone."""


@dataclass
class Compared:
    """An output with eight bits beside the one without.

    Attributes:
        signal: Sum of squares of the float32 one.
        noise: Sum of squares of the difference.
        largest: The largest difference.
        same: How many rows have the same argmax.
        asked: How many rows there were.
    """

    signal: float = 0.0
    noise: float = 0.0
    largest: float = 0.0
    same: int = 0
    asked: int = 0

    @property
    def agreement(self) -> float | None:
        """The share of rows that agree; None where there is no argmax."""
        return self.same / self.asked if self.asked else None

    def add(self, exact: Array, came: Array) -> None:
        """Compare a batch."""
        if exact.dtype.kind == "f":
            wide, other = exact.astype(np.float64), came.astype(np.float64)
            gap = np.where(wide == other, 0.0, other - wide)  # infinities that agree
            finite = np.where(np.isfinite(wide), wide, 0.0)
            self.signal += float(np.sum(finite * finite))
            self.noise += float(np.sum(gap * gap))
            self.largest = max(self.largest, float(np.abs(gap).max(initial=0.0)))
            if exact.ndim < 2 or exact.shape[_classes(exact)] < 2:
                return
            exact, came = (a.argmax(_classes(a)) for a in (exact, came))
        elif exact.dtype.kind in "iub":
            gaps = np.abs(exact.astype(np.float64) - came.astype(np.float64))
            self.largest = max(self.largest, float(gaps.max(initial=0.0)))
        self.same += int(np.sum(exact == came))
        self.asked += exact.size


def _classes(array: Array) -> int:
    """Return the dim of the classes: the last, or the channels of images."""
    return 1 if array.ndim >= 4 else array.ndim - 1


@dataclass
class Measured:
    """What the runs gave; (signal, noise) for each layer.

    Attributes:
        layers: The layers that hold something in eight bits.
        rows: Rows that were run.
        alone: Of a layer's result, where it alone is quantised.
        through: Of it, where every layer is.
        output: Of the answers, where the layer alone is quantised.
        outputs: The answers where every layer is quantised, by name.
    """

    layers: list[Layer]
    rows: int
    alone: Array
    through: Array
    output: Array
    outputs: dict[str, Compared] = field(default_factory=dict)


class Measuring:
    """A quantisation being measured on rows.

    Args:
        quantization: What is measured.
        rows: On what.
    """

    def __init__(self, quantization: Quantization, rows: Any) -> None:
        self.quantization, self.source = quantization, quantization.source
        self.batches = Batches(self.source, rows)
        schemes = quantization.schemes
        every = layers(self.source)
        self.layers = [x for x in every if x.end in schemes or any(w in schemes for w in x.weights)]
        self.flags = [Node(ops.LEAF, (), ((), dt.bool_), (), dt.bool_) for _ in self.layers]
        self.names = {leaf: name for name, leaf in self.source.leaves.items()}
        self._build()

    def measured(self) -> Measured:
        """Run everything."""
        count, names = len(self.layers), list(self.source.outputs)
        found = Measured(
            self.layers, self.batches.count, np.zeros((count, 2)), np.zeros((count, 2)),
            np.zeros((count, 2)), {name: Compared() for name in names},
        )  # fmt: skip
        seen = 0
        for inputs, new in shown(self.batches, "measuring", len(self.batches)):
            sums, pairs = self.run(inputs, set(range(count)))
            found.through += sums
            for name, (exact, came) in zip(names, pairs, strict=True):
                found.outputs[name].add(self.rows_of(exact, new), self.rows_of(came, new))
            for at in range(count) if seen < ALONE_ROWS else ():
                sums, pairs = self.run(inputs, {at})
                found.alone[at] += sums[at]
                answers = Compared()
                for exact, came in pairs:
                    answers.add(exact, came)
                found.output[at] += (answers.signal, answers.noise)
            seen += new
        return found

    def rows_of(self, array: Array, new: int) -> Array:
        """Return the rows of an output that were not run before."""
        batch = self.source.batch
        return array[:new] if batch and array.shape[:1] == (batch,) else array

    def run(self, inputs: list[Array], on: set[int]) -> tuple[Array, list[tuple[Array, Array]]]:
        """Return each layer's (signal, noise) and each output's pair, with some layers switched on.

        Args:
            inputs: A batch.
            on: Places of the layers that are quantised.
        """
        flags = [np.array(at in on) for at in range(len(self.layers))]
        chosen = {w for at in on for w in self.layers[at].weights}
        weights = [
            *self.exact.values(),
            *(self.held[leaf] if leaf in chosen else self.exact[leaf] for leaf in self.held),
        ]
        found = self.running([*inputs, *flags], weights)
        count = 2 * len(self.layers)
        sums = np.array([float(a.reshape(())) for a in found[:count]]).reshape(-1, 2)
        rest = found[count:]
        return sums, list(zip(rest[::2], rest[1::2], strict=True))

    # -- the program ------------------------------------------------------------------------------
    def _build(self) -> None:
        """Compile the model twice over, with a switch for each layer."""
        source, schemes = self.source, self.quantization.schemes
        arrays = {leaf: source.weights[name] for leaf, name in self.names.items()}
        self.exact = {leaf: _buffer(array) for leaf, array in arrays.items()}
        read = dict.fromkeys(w for layer in self.layers for w in layer.weights if w in schemes)
        self.held = {w: _buffer(real_weight(arrays[w], schemes[w])) for w in read}
        second = {w: Node(ops.LEAF, (), w.attrs, w.shape, w.dtype) for w in read}
        copy, new = Copy(), self._second(second)
        wanted: list[Node] = []
        places = {layer.end: at for at, layer in enumerate(self.layers)}
        for node in source.graph.nodes:
            if node.op is not ops.LEAF:
                copy.nodes.append(node)
                new[node] = copy.over(node, new)
            if node in places:
                new[node] = self._switched(copy, node, new[node], places[node])
                wanted += self._sums(copy, node, new[node])
        for node in source.outputs.values():
            wanted += [node, new[node]]
        leaves = [*source.inputs.values(), *arrays, *second.values()]
        names = {f"held.{at}": source.weights[self.names[w]] for at, w in enumerate(read)}
        graph = Graph([*leaves, *dict.fromkeys(copy.nodes)], wanted)
        whole = replace(source, graph=graph, weights={**source.weights, **names})
        self.running = Running(whole, wanted, self.flags)

    def _second(self, second: dict[Node, Node]) -> dict[Node, Node]:
        """Return what the leaves are in the second copy."""
        return {
            node: second.get(node, node) for node in self.source.graph.nodes if node.op is ops.LEAF
        }

    def _switched(self, copy: Copy, node: Node, made: Node, at: int) -> Node:
        """Append a layer's result, rounded where its switch is on."""
        scheme = self.quantization.schemes.get(node)
        if scheme is None:
            return made
        return copy.add(ops.WHERE, (self.flags[at], rounded(copy, made, scheme), made))

    def _sums(self, copy: Copy, exact: Node, came: Node) -> list[Node]:
        """Append the sums of squares of a value and of its error."""
        if exact.op is ops.LEAF:  # an output cannot be a leaf
            exact = copy.add(ops.RESHAPE, (exact,), ((size(exact.shape),),))
            came = copy.add(ops.RESHAPE, (came,), ((size(came.shape),),))
        found = []
        for value in (exact, copy.add(ops.SUB, (came, exact))):
            square = copy.add(ops.MUL, (value, value))
            flat = copy.add(ops.RESHAPE, (square,), ((size(square.shape),),))
            found.append(copy.add(ops.SUM, (flat,), ((0,),)))
        return found


def _buffer(array: Array) -> Buffer:
    return Buffer.from_array(np.ascontiguousarray(array))
