"""A source as an ONNX graph: every node that an output needs, patterns first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenor.export.onnx import quantized
from tenor.export.onnx.match import usable
from tenor.export.onnx.patterns import ACTIVATIONS, PATTERNS
from tenor.export.onnx.sizes import Sizes
from tenor.export.onnx.table import ROWS, check_operations, refused
from tenor.export.onnx.writer import Refused, Writer
from tenor.ir import op as ops

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tenor.export.onnx.match import Match
    from tenor.export.quantize.record import Scheme
    from tenor.export.source import Source
    from tenor.ir.node import Node

__all__ = ["Written", "write_graph"]


@dataclass(frozen=True)
class Written:
    """An ONNX graph in parts.

    Attributes:
        source: What was written.
        writer: Its nodes and constants.
        outputs: The name of each output's value, by the output's name.
    """

    source: Source
    writer: Writer
    outputs: dict[str, str]


def write_graph(
    source: Source, *, opset: int, sizes: Sizes | None = None,
    schemes: Mapping[Node, Scheme] | None = None,
) -> Written:  # fmt: skip
    """Return a source as an ONNX graph.

    Args:
        source: What is written.
        opset: The version of ONNX' operations.
        sizes: The shapes with the batch left open; by default it is fixed.
        schemes: How values are held in eight bits.

    Raises:
        ExportError: An operation cannot be written.
        SizesDiffer: It can, but not with the batch left open.
    """
    check_operations(source)
    return _Writing(source, opset, sizes or Sizes(), schemes or {}).run()


class _Writing:
    """One source on its way into a writer."""

    def __init__(
        self, source: Source, opset: int, sizes: Sizes, schemes: Mapping[Node, Scheme]
    ) -> None:
        self.source, self.schemes = source, schemes
        self.writer = Writer(opset, sizes, [*source.inputs, *source.outputs])
        self.weights: dict[Node, NDArray[Any]] = {
            leaf: source.weights[name] for name, leaf in source.leaves.items()
        }
        self.matches, self.order = _plan(source)
        self.readers: dict[Node, list[Node]] = {node: [] for node in self.order}
        for node in self.order:
            for x in self._reads(node):
                self.readers[x].append(node)

    def _reads(self, node: Node) -> tuple[Node, ...]:
        return self.matches[node].inputs if node in self.matches else node.inputs

    def run(self) -> Written:
        """Write every node that is needed, in order."""
        for name, leaf in self.source.inputs.items():
            self._name(leaf, name)
        names = {leaf: name for name, leaf in self.source.leaves.items()}
        for node in self.order:
            if node in names:
                self._weight(node, names[node])
            elif node.op is not ops.LEAF:
                self._node(node)
        return Written(self.source, self.writer, self._outputs())

    def _name(self, leaf: Node, name: str) -> None:
        w = self.writer
        w.names[leaf], w.types[name] = name, leaf.dtype
        scheme = self.schemes.get(leaf)
        if scheme is not None:
            w.rounding = scheme
            w.names[leaf] = w.rounded(name)

    def _weight(self, leaf: Node, name: str) -> None:
        w, value, scheme = self.writer, self.weights[leaf], self.schemes.get(leaf)
        if scheme is not None:
            w.names[leaf] = quantized.weight(w, name, value, scheme)
        else:
            held = w.fresh(name)
            w.constants[held], w.types[held], w.names[leaf] = value, leaf.dtype, held

    def _node(self, node: Node) -> None:
        w, match = self.writer, self.matches.get(node)
        scheme = quantized.scheme_of(node, self.schemes, self.matches)
        w.rounding = scheme if scheme is None or not self._absorbed(node) else None
        try:
            made = self._matched(match) if match else ROWS[node.op.name](w, node)
        except Refused as why:
            raise refused(self.source, node, why) from None
        if made:  # otherwise an expanded value, written when it is needed so
            w.names[node] = w.rounded(made)

    def _matched(self, match: Match) -> str:
        w = self.writer
        whole = quantized.bias(w, match, self.schemes, self.matches, self.weights)
        if whole is not None:
            w.flat[match.inputs[2]] = whole
        made = match.emit(w)
        if whole is not None:
            del w.flat[match.inputs[2]]
        return made

    def _absorbed(self, node: Node) -> bool:
        """Tell whether an activation follows, whose rounding is the one that counts."""
        after = self.readers[node]
        if len(after) != 1 or node in self.source.graph.outputs:
            return False
        match = self.matches.get(after[0])
        return match is not None and match.kind in ACTIVATIONS and after[0] in self.schemes

    def _outputs(self) -> dict[str, str]:
        """Give the outputs their names: a value that is nothing else is renamed."""
        w = self.writer
        values = {name: w.value(node) for name, node in self.source.outputs.items()}
        made = {out for _, _, outs, _ in w.nodes for out in outs}
        seen: set[str] = set()
        for name, value in values.items():
            if value not in made or value in seen:
                values[name] = w.write("Identity", [value], w.types[value])
            seen.add(values[name])
        return values


def _plan(source: Source) -> tuple[dict[Node, Match], list[Node]]:
    """Return the patterns that are used, and the nodes that are written, in order."""
    ends = set(source.graph.outputs)
    readers: dict[Node, list[Node]] = {node: [] for node in source.graph.nodes}
    for node in source.graph.nodes:
        for x in node.inputs:
            readers[x].append(node)
    matches: dict[Node, Match] = {}
    needed = set(ends)
    for node in reversed(source.graph.nodes):
        if node not in needed:
            continue
        tried = (pattern(node) for pattern in PATTERNS.get(node.op, ()))
        match = next((m for m in tried if m and usable(m, node, readers, ends)), None)
        if match is not None:
            matches[node] = match
        needed.update(match.inputs if match else node.inputs)
    return matches, [node for node in source.graph.nodes if node in needed]
