"""A quantised model as a graph of integer primitives: bytes between layers, exact 32-bit sums.

With an input x = s_x (q_x - z_x) and a weight w = s_w[c] q_w, where c is the channel of the result,
a convolution or product is

    sums[c] = sum of q_w q_x + bias[c],  bias[c] = round(b[c] / (s_x s_w[c])) - z_x sum of q_w,

in int32, exactly; padding holds z_x. It is brought back into bytes by

    q_y = clamp(round(float32(sums[c]) * m[c]) + z_y, low, high),  m[c] = s_x s_w[c] / s_y,

where m is a float32, the product is rounded once to float32, and `round` is to nearest, ties to
even. low and high are -128 and 127, or what an activation's bounds are stored as. Every machine
with IEEE floats gives the same bytes.

Maximum pools, reshapes, permutations, slices and concatenations stay bytes. Everything else is done
in float32 between float32(q - z) * s and clamp(round(x * float32(1 / s)) + z, -128, 127); the
compiler makes that part of the kernels around it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.errors import ArgumentError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.build import GraphBuilder
from tenor.ir.node import Graph, Node, size

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tenor.export.quantize.record import Quantization, Scheme
    from tenor.export.source import Source

    Array = NDArray[Any]

__all__ = ["integer"]

LONGEST: Final = 1 << 16
"""Products of bytes that, with a bias, always add up in 32 bits."""
EDGES: Final = ("float32", "int8")


def integer(quantization: Quantization, *, edges: str = "float32") -> Source:
    """Return a source whose convolutions and products compute with bytes.

    Args:
        quantization: A folded source, and the schemes of its values.
        edges: "float32": inputs and outputs stay as they are; "int8": those with a scheme are
            bytes, and so are the example rows and answers.

    Raises:
        ArgumentError: `edges` is neither.
    """
    if edges not in EDGES:
        raise ArgumentError(f"integer: edges must be one of {EDGES}.", came=repr(edges),
                            fix='use edges="float32" or edges="int8"')  # fmt: skip
    return _Writer(quantization, edges == "int8").written()


@dataclass(frozen=True)
class _Sums:
    """A value as 32-bit sums: real = scale[c] (node + bias[c]), in [low, high].

    Attributes:
        node: int32.
        name: What it is called.
        bias, scale: A number for each index of dim `channel`.
        channel: The dim.
        low, high: Bounds of an activation.
    """

    node: Node
    name: str
    bias: Array
    scale: Array
    channel: int
    low: float = -np.inf
    high: float = np.inf


class _Writer:
    """The integer graph so far; a node of the old one has its value in one of three forms."""

    def __init__(self, quantization: Quantization, whole: bool) -> None:
        self.source, self.whole = quantization.source, whole
        graph = self.source.graph
        self.schemes = {n: s for n, s in quantization.schemes.items() if s.axis is None}
        self.scales = quantization.schemes
        self.b = GraphBuilder()
        self.names: dict[Node, str] = {leaf: name for name, leaf in self.source.leaves.items()}
        self.kept = set(self.names)
        self.weights: dict[Node, Array] = {}
        self.inputs: dict[str, Node] = {}
        self.real: dict[Node, Node] = {}
        self.held: dict[Node, tuple[Node, Scheme]] = {}
        self.sums: dict[Node, _Sums] = {}
        self.memo: dict[object, Node] = {}
        self.users: dict[Node, list[Node]] = {}
        for node in graph.nodes:
            for x in node.inputs:
                self.users.setdefault(x, []).append(node)

    # -- the whole ----------------------------------------------------------------------------
    def written(self) -> Source:
        """Return the source."""
        source, whole = self.source, self.whole
        for name, leaf in source.inputs.items():
            self._input(name, leaf)
        for node in source.graph.nodes:
            rule = RULES.get(node.op.name)
            if node.op is not ops.LEAF and not (rule and rule(self, node)):
                self._copied(node)
        chosen = {
            name: self.bytes_of(node, self._own(node)) if whole and node in self.schemes
            else self.number(node)
            for name, node in source.outputs.items()
        }  # fmt: skip
        nodes = _needed(self.b.nodes, list(chosen.values()))
        kept = [n for n in nodes if n in self.weights]
        graph = Graph(
            [*self.inputs.values(), *kept,
             *(n for n in nodes if n.op is not ops.LEAF)], list(chosen.values())
        )  # fmt: skip
        return replace(
            source, graph=graph, inputs=self.inputs, outputs=chosen,
            weights={self.names[n]: self.weights[n] for n in kept},
            rows=self._edge(source.rows, source.inputs),
            answers=self._edge(source.answers, source.outputs),
        )  # fmt: skip

    def _input(self, name: str, leaf: Node) -> None:
        byte = self.whole and leaf in self.schemes
        made = self.b.leaf(leaf.shape, dt.int8 if byte else leaf.dtype)
        self.inputs[name] = made
        if byte:
            self.held[leaf] = (made, self.schemes[leaf])
        else:
            self.real[leaf] = made

    def _edge(self, arrays: dict[str, Array], nodes: dict[str, Node]) -> dict[str, Array]:
        """Return example rows as the edges hold them."""
        if not self.whole:
            return arrays
        return {
            name: self._own(nodes[name]).stored(x) if nodes[name] in self.schemes else x
            for name, x in arrays.items()
        }

    def _own(self, node: Node) -> Scheme:
        """Return the scheme a value is held by."""
        return self.held[node][1] if node in self.held else self.schemes[node]

    # -- forms of a value -----------------------------------------------------------------------
    def number(self, node: Node) -> Node:
        """Return a value as it was: float32, or whatever it is."""
        if node in self.kept:
            return self._kept(node)
        if node in self.sums and self._direct(node):
            return self._once(("number", node), lambda: self._scaled(self.sums[node]))
        if node in self.real and not self._shared(node):
            return self.real[node]
        scheme = self._own(node)
        q = self.bytes_of(node, scheme)
        return self._once(("number", node), lambda: self._dequantised(q, scheme))

    def _direct(self, node: Node) -> bool:
        """Tell whether sums go on as numbers: one kernel's elements, or no scheme to hold them."""
        if node not in self.schemes:
            return True
        return all(user.op.family == "elementwise" for user in self.users.get(node, ()))

    def _shared(self, node: Node) -> bool:
        """Tell whether a number is held in bytes anyhow, for a convolution or product."""
        if node not in self.schemes or node.op.family != "elementwise":
            return False
        return any(user.op in PRODUCTS for user in self.users.get(node, ()))

    def bytes_of(self, node: Node, scheme: Scheme) -> Node:
        """Return a value in bytes."""
        if node in self.held and self.held[node][1] is scheme:
            return self.held[node][0]

        def make() -> Node:
            if node in self.sums:
                return self._requantised(self.sums[node], scheme)
            if node in self.held:
                return self._quantised(self._dequantised(*self.held[node]), scheme)
            return self._quantised(self.real.get(node) or self._kept(node), scheme)

        return self._once(("bytes", node, id(scheme)), make)

    def _once(self, key: object, make: Callable[[], Node]) -> Node:
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]

    def _holds(self, node: Node) -> bool:
        """Tell whether a value can be had in bytes."""
        return node in self.held or (node in self.schemes and node.dtype is dt.float32)

    def _in_bytes(self, node: Node) -> bool:
        """Tell whether a value is in bytes, or on the way there."""
        return node in self.held or (node in self.sums and node in self.schemes)

    def _taken(self, node: Node) -> tuple[Node, Scheme]:
        scheme = self._own(node)
        return self.bytes_of(node, scheme), scheme

    # -- between forms --------------------------------------------------------------------------
    def _quantised(self, x: Node, scheme: Scheme) -> Node:
        b, scale = self.b, float(np.float32(1 / np.float64(scale_of(scheme))))
        scaled = b.mul(x, b.full(x.shape, scale, dt.float32))
        return b.emit(ops.QUANTIZE, (scaled,), (zero_of(scheme), -128, 127))

    def _dequantised(self, q: Node, scheme: Scheme) -> Node:
        b, zero = self.b, zero_of(scheme)
        x = b.cast(q, dt.float32)
        if zero:
            x = b.sub(x, b.full(q.shape, float(zero), dt.float32))
        return b.mul(x, b.full(q.shape, scale_of(scheme), dt.float32))

    def _total(self, sums: _Sums) -> Node:
        """Return the sums with their bias, as float32."""
        made = sums.node
        if np.any(sums.bias):
            bias = np.clip(sums.bias, -(2**31), 2**31 - 1).astype(np.int32)
            made = self.b.add(made, self._channels(bias, sums, "bias"))
        return self.b.cast(made, dt.float32)

    def _channels(self, values: Array, sums: _Sums, what: str) -> Node:
        """Return a new weight, one number a channel, as large as the sums."""
        after = len(sums.node.shape) - 1 - sums.channel
        shape = (*(1,) * sums.channel, -1, *(1,) * after)
        leaf = self._weight(values.reshape(shape), f"{sums.name}.{what}")
        return self.b.expand(leaf, sums.node.shape)

    def _requantised(self, sums: _Sums, scheme: Scheme) -> Node:
        factors = (sums.scale / scale_of(scheme)).astype(np.float32)
        scaled = self.b.mul(self._total(sums), self._channels(factors, sums, "factor"))
        zero, low, high = zero_of(scheme), -128, 127
        if sums.low > -np.inf:
            low = int(scheme.stored(np.array(sums.low, np.float32)))
        if sums.high < np.inf:
            high = max(low, int(scheme.stored(np.array(sums.high, np.float32))))
        return self.b.emit(ops.QUANTIZE, (scaled,), (zero, low, high))

    def _scaled(self, sums: _Sums) -> Node:
        b, factors = self.b, sums.scale.astype(np.float32)
        made = b.mul(self._total(sums), self._channels(factors, sums, "scale"))
        for op, bound in ((ops.MAXIMUM, sums.low), (ops.MINIMUM, sums.high)):
            if np.isfinite(bound):
                made = b.emit(op, (made, b.full(made.shape, bound, dt.float32)))
        return made

    # -- weights --------------------------------------------------------------------------------
    def _weight(self, value: Array, name: str) -> Node:
        taken = {self.names[n] for n in self.weights}
        while name in taken:
            name += "_"
        kinds = {np.int8: dt.int8, np.int32: dt.int32, np.float32: dt.float32}
        leaf = self.b.leaf(value.shape, kinds[value.dtype.type])
        self.weights[leaf], self.names[leaf] = value, name
        return leaf

    def _shown(self, node: Node, value: Array) -> Node:
        """Return a layer's weight in bytes, one for all that use it in this shape."""
        leaf = node.inputs[1]
        return self._once(
            ("weight", leaf, value.shape), lambda: self._weight(value, self.names[leaf])
        )

    def _kept(self, leaf: Node) -> Node:
        """Return a weight that stays as it is."""

        def make() -> Node:
            made = self.b.leaf(leaf.shape, leaf.dtype)
            self.weights[made] = self.source.weights[self.names[leaf]]
            self.names[made] = self.names[leaf]
            return made

        return self._once(("kept", leaf), make)

    # -- rules ----------------------------------------------------------------------------------
    def _copied(self, node: Node) -> None:
        """Compute a value from numbers."""
        self.real[node] = self.b.emit(node.op, tuple(map(self.number, node.inputs)), node.attrs)

    def _operands(self, node: Node, channel: int) -> tuple[Array, Array] | None:
        """Return a product's weight in bytes and its scales; None where it stays float32."""
        x, w = node.inputs
        scheme = self.scales.get(w)
        if w not in self.kept or scheme is None:
            return None
        count = w.shape[channel]
        if scheme.axis not in (None, channel) or np.any(scheme.zero_point) or not self._holds(x):
            return None
        if size(w.shape) > LONGEST * max(1, count):
            return None
        value = scheme.stored(self.source.weights[self.names[w]].astype(np.float32))
        scale = np.broadcast_to(np.asarray(scheme.scale, np.float64).reshape(-1), (count,))
        return value, np.where(scale > 0, scale, 1.0)

    def conv(self, node: Node) -> bool:
        """Write a convolution; one whose window is the whole image is a product."""
        found = self._operands(node, 0)
        if found is None:
            return False
        weight, scale = found
        q, scheme = self._taken(node.inputs[0])
        name, zero = self.names[node.inputs[1]], zero_of(scheme)
        _, padding, _, groups = node.attrs
        single = groups == 1 and q.shape[2:] == weight.shape[2:] and not np.any(padding)
        if single:
            rows = self.b.reshape(q, (q.shape[0], size(q.shape[1:])))
            leaf = self._shown(node, weight.reshape(len(weight), -1))
            made = self.b.reshape(self.b.emit(ops.MATMUL_INT8, (rows, leaf)), node.shape)
        else:
            leaf = self._shown(node, weight)
            made = self.b.emit(ops.CONV_INT8, (q, leaf), (*node.attrs, zero))
        bias = -zero * weight.astype(np.int64).reshape(len(weight), -1).sum(1)
        self.sums[node] = _Sums(made, name, bias, scale * scale_of(scheme), 1)
        return True

    def matmul(self, node: Node) -> bool:
        """Write a product with a weight [K, N]."""
        if len(node.shape) != 2:
            return False
        found = self._operands(node, 1)
        if found is None:
            return False
        weight, scale = found
        q, scheme = self._taken(node.inputs[0])
        name = self.names[node.inputs[1]]
        leaf = self._shown(node, np.ascontiguousarray(weight.T))
        made = self.b.emit(ops.MATMUL_INT8, (q, leaf))
        bias = -zero_of(scheme) * weight.astype(np.int64).sum(0)
        self.sums[node] = _Sums(made, name, bias, scale * scale_of(scheme), 1)
        return True

    def add(self, node: Node) -> bool:
        """Add a bias to sums."""
        for x, other in (node.inputs, node.inputs[::-1]):
            sums = self.sums.get(x)
            if sums is None or sums.low > -np.inf or sums.high < np.inf:
                continue
            value = self._bias(other, sums, node.shape)
            if value is not None:
                self.sums[node] = replace(sums, bias=sums.bias + np.rint(value / sums.scale))
                return True
        return False

    def _bias(self, node: Node, sums: _Sums, shape: tuple[int, ...]) -> Array | None:
        """Return a weight that differs from channel to channel only, one number a channel."""
        while node.op is ops.EXPAND:
            node = node.inputs[0]
        if node not in self.kept:
            return None
        own = (*(1,) * (len(shape) - len(node.shape)), *node.shape)
        wanted = tuple(n if d == sums.channel else 1 for d, n in enumerate(shape))
        if own != wanted or node.dtype is not dt.float32:
            return None
        return np.asarray(self.source.weights[self.names[node]], np.float64).reshape(-1)

    def where(self, node: Node) -> bool:
        """Take relu into the sums: 0 where x <= 0, else x."""
        test, zero, x = node.inputs
        if x not in self.sums or test.op is not ops.LE or test.inputs[0] is not x:
            return False
        if constant(test.inputs[1]) != 0 or constant(zero) != 0:
            return False
        sums = self.sums[x]
        self.sums[node] = replace(sums, low=max(sums.low, 0.0), high=max(sums.high, 0.0))
        return True

    def bound(self, node: Node) -> bool:
        """Take the larger or smaller of a value and a number into the sums."""
        for x, other in (node.inputs, node.inputs[::-1]):
            sums, value = self.sums.get(x), constant(other)
            if sums is None or value is None or not np.isfinite(value):
                continue
            meet = max if node.op is ops.MAXIMUM else min
            self.sums[node] = replace(sums, low=meet(sums.low, value), high=meet(sums.high, value))
            return True
        return False

    def reshape(self, node: Node) -> bool:
        """Keep sums whose channels stay the last dim, else move bytes."""
        (x,) = node.inputs
        sums = self.sums.get(x)
        last = sums is not None and sums.channel == len(x.shape) - 1
        if sums is not None and last and node.shape and node.shape[-1] == x.shape[-1]:
            made = self.b.reshape(sums.node, node.shape)
            self.sums[node] = replace(sums, node=made, channel=len(node.shape) - 1)
            return True
        return self.moved(node)

    def moved(self, node: Node) -> bool:
        """Move bytes, or take the largest of them."""
        (x,) = node.inputs
        if not self._in_bytes(x):
            return False
        q, scheme = self._taken(x)
        self.held[node] = (self.b.emit(node.op, (q,), node.attrs), scheme)
        return True

    def pad(self, node: Node) -> bool:
        """Pad bytes with what zero, or a number below all others, is held as."""
        (x,) = node.inputs
        low, high, value = node.attrs
        if not self._in_bytes(x) or value not in (0, -np.inf):
            return False
        q, scheme = self._taken(x)
        stored = zero_of(scheme) if value == 0 else -128
        self.held[node] = (self.b.emit(ops.PAD, (q,), (low, high, stored)), scheme)
        return True

    def concat(self, node: Node) -> bool:
        """Concatenate bytes, each brought into the result's scheme."""
        if node not in self.schemes or not any(map(self._in_bytes, node.inputs)):
            return False
        scheme = self.schemes[node]
        parts = tuple(self.bytes_of(x, scheme) for x in node.inputs)
        self.held[node] = (self.b.emit(ops.CONCAT, parts, node.attrs), scheme)
        return True


PRODUCTS: Final = (ops.CONV, ops.MATMUL)
RULES: Final[dict[str, Callable[[_Writer, Node], bool]]] = {
    "conv": _Writer.conv, "matmul": _Writer.matmul, "add": _Writer.add, "where": _Writer.where,
    "maximum": _Writer.bound, "minimum": _Writer.bound, "reshape": _Writer.reshape,
    "permute": _Writer.moved, "slice": _Writer.moved, "unfold": _Writer.moved,
    "max": _Writer.moved, "pad": _Writer.pad, "concat": _Writer.concat,
}  # fmt: skip
"""What writes a node in integers, if it can; the others are computed in float32."""


def scale_of(scheme: Scheme) -> float:
    """Return the one scale of a scheme."""
    return float(np.asarray(scheme.scale).reshape(()))


def zero_of(scheme: Scheme) -> int:
    """Return the one zero point of a scheme."""
    return int(np.asarray(scheme.zero_point).reshape(()))


def constant(node: Node) -> float | None:
    """Return the number a node holds everywhere, if it is a literal spread out."""
    while node.op is ops.EXPAND:
        node = node.inputs[0]
    return float(node.attrs[0]) if node.op is ops.CONST else None


def _needed(nodes: list[Node], ends: list[Node]) -> list[Node]:
    """Return the nodes that some are made of, in order."""
    wanted = set(ends)
    for node in reversed(nodes):
        if node in wanted:
            wanted.update(node.inputs)
    return [node for node in nodes if node in wanted]
