"""What is being written: tensors, constants and operators, and the forms a value is held in.

A value may be held plain (Tenor's order of dims) or channels last, as real numbers or in eight
bits. `get` gives the form that is asked for and converts from one that is there, once. What nobody
reads in the end is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.compiler.emit import reference
from tenor.errors import ExportError
from tenor.export.quantize.record import Scheme
from tenor.export.tflite.flatbuffer import encoded
from tenor.export.tflite.schema import ACTIVATION, CODES, PADDING, TYPES, version
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import Graph, Node, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tenor.export.source import Source
    from tenor.ir.dtype import DType

    Array = NDArray[Any]

__all__ = [
    "IMAGE",
    "Value",
    "Writer",
    "fitted",
    "moved",
    "one_scale",
    "refused",
    "to_last",
    "to_plain",
]

WORKED_OUT: Final = 1 << 16
"""Elements up to which a value that is known is worked out here."""
IMAGE: Final = 4
"""Dims of an input whose channels may stand last in the file."""
DEPRECATED: Final = 127
"""Where an operator's number does not fit in the byte older readers look at."""


def refused(source: Source, node: Node, why: str, instead: str) -> ExportError:
    """Return the error for a node the format has no operators for."""
    return ExportError(
        f"export: {why}",
        came=f"{node.op.name} of {node.dtype.name} {list(node.shape)}, {source.where(node)}",
        fix=instead,
        where=node.site,
    )


def to_last(rank: int) -> tuple[int, ...]:
    """Return the permutation that puts channels (dim 1) last."""
    return (0, *range(2, rank), 1) if rank > 2 else tuple(range(rank))


def to_plain(rank: int) -> tuple[int, ...]:
    """Return the permutation that puts channels back to dim 1."""
    return (0, rank - 1, *range(1, rank - 1)) if rank > 2 else tuple(range(rank))


def moved(items: Sequence[Any], *, last: bool) -> tuple[Any, ...]:
    """Return one item a dim in the order of a layout."""
    return tuple(items[d] for d in to_last(len(items))) if last else tuple(items)


def fitted(array: Array) -> Scheme:
    """Return a scheme for a constant that is no weight: exact for one number."""
    low, high = min(float(array.min()), 0.0), max(float(array.max()), 0.0)
    if array.size == 1 or low == high:
        scale = max(abs(low), abs(high)) / 127 or 1.0
        return one_scale(scale, 0)
    scale = (high - low) / 255
    return one_scale(scale, round(-128 - low / scale))


def one_scale(scale: float, zero: int) -> Scheme:
    """Return a scheme whose elements share one scale."""
    return Scheme(np.array([scale], np.float32), np.array([zero], np.int32))


@dataclass(frozen=True)
class Value:
    """A tensor of the file."""

    index: int
    shape: tuple[int, ...]
    dtype: DType
    scheme: Scheme | None = None


@dataclass
class _Operator:
    name: str
    inputs: list[Value]
    outputs: list[Value]
    version: int
    options: dict[str, Any]


class Writer:
    """A file in the making.

    Attributes:
        source: What is exported.
        schemes: The schemes of values held in eight bits; empty for a float model.
        held: The forms a node's value is there in: by (channels last, eight bits).
        flat: What was flattened from a channels-last value, by the flattened node.
        weights: How the weights of float layers are held: "float32", "float16" or "int8".
    """

    def __init__(
        self, source: Source, schemes: dict[Node, Scheme], weights: str = "float32"
    ) -> None:
        self.source, self.schemes, self.weights = source, schemes, weights
        self.held: dict[Node, dict[tuple[bool, bool], Value]] = {}
        self.flat: dict[Node, tuple[Value, Node]] = {}
        self.operators: list[_Operator] = []
        self._tensors: list[dict[str, Any]] = []
        self._data: dict[int, Array] = {}
        self._made_by: dict[int, _Operator] = {}
        self._shared: dict[Any, Value] = {}
        self._known: dict[Node, Array | None] = {
            leaf: source.weights[name] for name, leaf in source.leaves.items()
        }
        self._names = {leaf: name for name, leaf in source.leaves.items()}

    # -- tensors ----------------------------------------------------------------------------
    def tensor(
        self, name: str, shape: Sequence[int], dtype: DType, scheme: Scheme | None = None,
        axis: int = 0,
    ) -> Value:  # fmt: skip
        """Add a tensor. `axis` is the dim whose indices have scales of their own."""
        shape = tuple(map(int, shape))
        row: dict[str, Any] = {
            "shape": shape, "type": TYPES[dtype], "buffer": 0, "name": name, "has_rank": True,
        }  # fmt: skip
        if scheme is not None:
            row["quantization"] = {
                "scale": np.atleast_1d(scale_of(scheme)),
                "zero_point": np.atleast_1d(scheme.zero_point).astype(np.int64),
                "dimension": axis,
            }
        self._tensors.append(row)
        return Value(len(self._tensors) - 1, shape, dtype, scheme)

    def constant(
        self,
        array: Array,
        dtype: DType,
        scheme: Scheme | None = None,
        name: str = "",
        axis: int = 0,
    ) -> Value:
        """Return a tensor of known elements; equal ones are there once."""
        array = np.ascontiguousarray(array, dtype.numpy).reshape(np.shape(array))
        raw = array.tobytes()
        scales = None if scheme is None else (scheme.scale.tobytes(), scheme.zero_point.tobytes())
        key = (dtype.name, array.shape, raw, scales, axis)
        if key not in self._shared:
            label = name or f"constant_{len(self._tensors)}"
            made = self.tensor(label, array.shape, dtype, scheme, axis)
            self._data[made.index] = np.frombuffer(raw, np.uint8)
            self._shared[key] = made
        return self._shared[key]

    def ints(self, numbers: Sequence[int]) -> Value:
        """Return int32 numbers, as operators take dims and sizes."""
        return self.constant(np.array(numbers, np.int32).reshape(-1), dt.int32)

    def scalar(self, number: float, dtype: DType) -> Value:
        """Return one number of shape ()."""
        return self.constant(np.array(number, dtype.numpy), dtype)

    # -- operators --------------------------------------------------------------------------
    def op(
        self, name: str, inputs: Sequence[Value], shape: Sequence[int], dtype: DType | None = None,
        scheme: Scheme | None = None, at_least: int = 1, **options: Any,
    ) -> Value:  # fmt: skip
        """Add an operator of one result. Its dtype is that of the first input by default."""
        made = self.tensor(
            f"{name.lower()}_{len(self._tensors)}", shape, dtype or inputs[0].dtype, scheme
        )
        self.emit(name, inputs, [made], at_least, **options)
        return made

    def emit(
        self, name: str, inputs: Sequence[Value], outputs: list[Value], at_least: int = 1,
        **options: Any,
    ) -> None:  # fmt: skip
        """Add an operator. `at_least` is a version its options ask for."""
        rank = max(len(x.shape) for x in inputs)
        number = max(at_least, version(name, inputs[0].dtype, rank))
        operator = _Operator(name, list(inputs), outputs, number, options)
        self.operators.append(operator)
        for made in outputs:
            self._made_by[made.index] = operator

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """Return the same elements in another shape."""
        shape = tuple(shape)
        before = self._made_by.get(x.index)
        if before is not None and before.name == "RESHAPE":
            x = before.inputs[0]
        if x.shape == shape:
            return x
        return self.op(
            "RESHAPE", [x, self.ints(shape)], shape, scheme=x.scheme, new_shape=list(shape)
        )

    def transpose(self, x: Value, dims: Sequence[int]) -> Value:
        """Return x with its dims in another order."""
        shape = tuple(x.shape[d] for d in dims)
        long = [d for d in dims if x.shape[d] != 1]
        if long == sorted(long):  # only dims of extent 1 change places
            return self.reshape(x, shape)
        return self.op("TRANSPOSE", [x, self.ints(dims)], shape, scheme=x.scheme)

    def name_of(self, node: Node | None) -> str:
        """Return a weight's name; "" for any other value."""
        return self._names.get(node, "") if node is not None else ""

    # -- values of nodes --------------------------------------------------------------------
    def known(self, node: Node) -> Array | None:
        """Return a node's elements where nothing given at run time decides them."""
        if node not in self._known:
            self._known[node] = self._decided(node)
        return self._known[node]

    def _decided(self, node: Node) -> Array | None:
        if node.op.family == "parameter":
            return None
        given = [array for x in node.inputs if (array := self.known(x)) is not None]
        largest = max(WORKED_OUT, *(x.size for x in given), 0)
        if len(given) < len(node.inputs) or size(node.shape) > largest:
            return None
        leaves = [Node(ops.LEAF, (), (x.shape, x.dtype), x.shape, x.dtype) for x in node.inputs]
        last = Node(node.op, tuple(leaves), node.attrs, node.shape, node.dtype)
        return reference.run(Graph([*leaves, last], [last]), given, [])[0]

    def bind(self, node: Node, value: Value, *, last: bool) -> None:
        """Note a form that a node's value is there in."""
        eight = value.scheme is not None
        self.held.setdefault(node, {})[last and len(node.shape) > 2, eight] = value

    def in_eight(self, node: Node) -> Scheme | None:
        """Return how a node's value is held in eight bits already; None where it is not."""
        return next((v.scheme for (_, e), v in self.held.get(node, {}).items() if e), None)

    def only_last(self, node: Node) -> bool:
        """Tell whether a node's value is there channels last, and not plain."""
        forms = {last for last, _ in self.held.get(node, {})}
        return forms == {True}

    def get(self, node: Node, *, last: bool = False, eight: bool = False) -> Value:
        """Return a node's value in a form."""
        last = last and len(node.shape) > 2
        forms = self.held.setdefault(node, {})
        if (last, eight) not in forms:
            array = self.known(node)
            if array is not None:
                forms[last, eight] = self._fixed(node, array, last=last, eight=eight)
            elif (not last, eight) in forms:
                turn = to_last if last else to_plain
                forms[last, eight] = self.transpose(forms[not last, eight], turn(len(node.shape)))
            elif (last, not eight) in forms:
                forms[last, eight] = self._held(node, forms[last, not eight], eight=eight)
            else:
                before = forms[not last, not eight]
                forms[not last, eight] = self._held(node, before, eight=eight)
                return self.get(node, last=last, eight=eight)
        return forms[last, eight]

    def _fixed(self, node: Node, array: Array, *, last: bool, eight: bool) -> Value:
        if last:
            array = array.transpose(to_last(array.ndim))
        return self.number(array, node.dtype, eight=eight, name=self.name_of(node))

    def number(self, array: Array, dtype: DType, *, eight: bool, name: str = "") -> Value:
        """Return known numbers as a tensor, real or in eight bits."""
        if not eight:
            return self.constant(array, dtype, name=name)
        scheme = fitted(array)
        return self.constant(scheme.stored(array), dt.int8, scheme, name)

    def _held(self, node: Node, value: Value, *, eight: bool) -> Value:
        if not eight:
            return self.op("DEQUANTIZE", [value], value.shape, dt.float32)
        scheme = self.in_eight(node) or self.schemes[node]
        return self.op("QUANTIZE", [value], value.shape, dt.int8, scheme)

    def rescaled(self, value: Value, scheme: Scheme) -> Value:
        """Return a value of eight bits by another scheme."""
        assert value.scheme is not None
        if same(value.scheme, scheme):
            return value
        return self.op("QUANTIZE", [value], value.shape, dt.int8, scheme)

    # -- the file ---------------------------------------------------------------------------
    def copied(self, value: Value) -> Value:
        """Return a tensor of its own with the same elements, for an output."""
        flat = (int(np.prod(value.shape)),) if value.shape != (1,) else (1, 1)
        other = self.op("RESHAPE", [value, self.ints(flat)], flat, scheme=value.scheme,
                        new_shape=list(flat))  # fmt: skip
        shape = value.shape
        return self.op("RESHAPE", [other, self.ints(shape)], shape, scheme=value.scheme,
                       new_shape=list(shape))  # fmt: skip

    def file(self, inputs: dict[str, Value], outputs: dict[str, Value]) -> bytes:
        """Return the file's bytes."""
        ends = self._ends(inputs, outputs)
        for name, value in (*inputs.items(), *ends.items()):
            self._tensors[value.index]["name"] = name
        self._prune(ends.values())
        return encoded("Model", self._model(inputs, ends))

    def _ends(self, inputs: dict[str, Value], outputs: dict[str, Value]) -> dict[str, Value]:
        """Return outputs that are tensors of their own: no inputs, constants or each other."""
        taken = {v.index for v in inputs.values()} | set(self._data)
        ends: dict[str, Value] = {}
        for name, value in outputs.items():
            ends[name] = self.copied(value) if value.index in taken else value
            taken.add(ends[name].index)
        return ends

    def _prune(self, ends: Any) -> None:
        wanted = {v.index for v in ends}
        kept = []
        for operator in reversed(self.operators):
            if any(v.index in wanted for v in operator.outputs):
                wanted.update(v.index for v in operator.inputs)
                kept.append(operator)
        self.operators = kept[::-1]

    def _model(self, inputs: dict[str, Value], outputs: dict[str, Value]) -> dict[str, Any]:
        used = [v for o in self.operators for v in (*o.inputs, *o.outputs)]
        indices = sorted({v.index for v in (*inputs.values(), *outputs.values(), *used)})
        place = {index: i for i, index in enumerate(indices)}
        tensors: list[dict[str, Any]] = []
        buffers: list[dict[str, Any]] = [{}]  # the first stands for none
        for index in indices:
            row = dict(self._tensors[index])
            if index in self._data:
                row["buffer"] = len(buffers)
                buffers.append({"data": self._data[index]})
            tensors.append(row)
        codes = list(dict.fromkeys((o.name, o.version) for o in self.operators))
        graph = {
            "tensors": tensors,
            "inputs": [place[v.index] for v in inputs.values()],
            "outputs": [place[v.index] for v in outputs.values()],
            "operators": [self._row(o, codes, place) for o in self.operators],
            "name": "main",
        }
        maps = [
            [{"name": n, "tensor_index": place[v.index]} for n, v in side.items()]
            for side in (inputs, outputs)
        ]
        key = self.source.signature
        signature = {"inputs": maps[0], "outputs": maps[1], "key": key, "subgraph_index": 0}
        return {
            "version": 3,
            "operator_codes": [_code(*code) for code in codes],
            "subgraphs": [graph],
            "description": f"{self.source.name}, by Tenor",
            "buffers": buffers,
            "signature_defs": [signature],
        }

    def _row(
        self, operator: _Operator, codes: list[tuple[str, int]], place: dict[int, int]
    ) -> dict[str, Any]:
        row: dict[str, Any] = {
            "opcode_index": codes.index((operator.name, operator.version)),
            "inputs": [place[v.index] for v in operator.inputs],
            "outputs": [place[v.index] for v in operator.outputs],
        }
        table = CODES[operator.name][1]
        if table:
            row["options"] = (table, {k: _option(v) for k, v in operator.options.items()})
        return row


def scale_of(scheme: Scheme) -> NDArray[np.float32]:
    """Return a scheme's scales."""
    return np.asarray(scheme.scale, np.float32)


def same(a: Scheme, b: Scheme) -> bool:
    """Tell whether two schemes of one scale are equal."""
    return bool(np.all(a.scale == b.scale) and np.all(a.zero_point == b.zero_point))


def _option(value: Any) -> Any:
    if isinstance(value, str):
        return PADDING[value] if value in PADDING else ACTIVATION[value]
    return value


def _code(name: str, number: int) -> dict[str, Any]:
    code = CODES[name][0]
    return {
        "deprecated_builtin_code": min(code, DEPRECATED), "version": number, "builtin_code": code,
    }  # fmt: skip
