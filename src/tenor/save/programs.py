"""A signature's program, made ready to run for each size it meets."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from tenor.engine import backend
from tenor.engine.flush import FAILURES
from tenor.errors import FormatError, ShapeError, TenorError
from tenor.ir import op as ops
from tenor.ir.node import size
from tenor.ir.text import parse
from tenor.runtime.allocator import Buffer, copy_of
from tenor.save.guards import guarded
from tenor.save.symbolic import HOLE, fill

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from tenor.ir.node import Graph, Node
    from tenor.save.manifest import Signature, TensorSpec

    Array = NDArray[np.generic]

__all__ = ["MAX_BYTES", "Program"]

MAX_BYTES: Final = 8 << 30
FLEETING: Final = 128
"""How many times `max_bytes` all values may be, most of which are never in memory."""
MAX_LINES: Final = 100_000
MAX_REFERENCES: Final = 4 * MAX_LINES
KEPT_SIZES: Final = 16
PROBED: Final = (1, 8, 64)
"""Sizes at which a program without examples is read when it is loaded."""


@dataclass(frozen=True)
class Ready:
    """A program compiled for one size."""

    graph: Graph
    runner: backend.Runner


class Program:
    """What a signature runs.

    Args:
        signature: What it is asked.
        template: IR text with its symbolic sizes left open.
        weights: The arrays it reads after its inputs, by name; shared by all sizes, not copied.
        max_bytes: The most memory a run may take: its outputs, the values it stores on the way,
            and workspace.
        device: Where it runs: "cpu", "webgpu", or "webgpu:1" and the like.

    Raises:
        FormatError: The text cannot be a program of this signature.
    """

    def __init__(
        self,
        signature: Signature,
        template: str,
        weights: Mapping[str, Array],
        max_bytes: int = MAX_BYTES,
        device: str = "cpu",
    ) -> None:
        self.signature = signature
        self.device = device
        self.template = template
        self.max_bytes = max_bytes
        self.weights = [weights[name] for name in signature.state]
        self.buffers = [_buffer(array) for array in self.weights]
        self._first: backend.Runner | None = None
        self._ready: OrderedDict[tuple[int, ...], Ready] = OrderedDict()
        self._lock = threading.Lock()
        self._building = threading.Lock()
        if template.count("\n") > MAX_LINES:
            self._refuse(f"{template.count(chr(10))} lines", f"at most {MAX_LINES}")
        if template.count("%") > MAX_REFERENCES:
            self._refuse(f"{template.count('%')} references", f"at most {MAX_REFERENCES}")
        free = {match.group(3) for match in HOLE.finditer(template)} - set(signature.symbols)
        if free:
            self._refuse(f"the open size {free.pop()!r}", "the inputs name all sizes")

    def run(self, inputs: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, Array]:
        """Run on arrays that fit the signature, in which each symbolic dim has its size.

        Raises:
            ShapeError: The program cannot be run at these sizes, or would take more memory than
                allowed, or than there is.
            IndexRangeError: An input holds an index out of range.
        """
        ready = self.ready(sizes)
        given = [_buffer(inputs[spec.name]) for spec in self.signature.inputs]
        try:
            outputs, code, value = ready.runner.run([*given, *self.buffers], [])
        except MemoryError as error:
            raise self._too_large("more than this machine has", sizes) from error
        if code:
            raise _out_of_range(ready.graph.nodes[code - 1], value)
        made = zip(self.signature.outputs, outputs, ready.graph.outputs, strict=True)
        return {spec.name: b.array(n.dtype.numpy, n.shape) for spec, b, n in made}

    def ready(self, sizes: Mapping[str, int]) -> Ready:
        """Return the program compiled for sizes; the last 16 different ones are kept."""
        key = tuple(sizes[symbol] for symbol in self.signature.symbols)
        found = self._kept(key)
        if found is None:
            with self._building:  # once, whoever asks; sizes already known do not wait
                found = self._kept(key)
                if found is None:
                    graph = self._graph_for_run(sizes)
                    found = Ready(graph, self._affordable(self._loaded(graph), sizes))
                    with self._lock:
                        self._ready[key] = found
                        if len(self._ready) > KEPT_SIZES:
                            self._ready.popitem(last=False)
        return found

    def _loaded(self, graph: Graph) -> backend.Runner:
        if self.device == "cpu":
            return backend.load(graph)
        made = backend.load_on_webgpu(graph, self.buffers, self.device, self._first)
        if self._first is None:  # the weights are on the device once, for all sizes
            self._first = made
        return made

    def _kept(self, key: tuple[int, ...]) -> Ready | None:
        with self._lock:
            found = self._ready.get(key)
            if found is not None:
                self._ready.move_to_end(key)
            return found

    def _graph_for_run(self, sizes: Mapping[str, int]) -> Graph:
        try:
            return self.graph(sizes)
        except FormatError as error:
            if not sizes:
                raise
            raise ShapeError(
                f"{self.signature.name}: the program must allow these sizes.",
                came=[*(f"{name} = {n}" for name, n in sizes.items()), error.wanted, *error.came],
                fix="other sizes may work; or the file was damaged",
            ) from error

    def graph(self, sizes: Mapping[str, int]) -> Graph:
        """Return the checked graph for sizes; nothing is compiled, no memory is taken.

        Raises:
            FormatError: At these sizes the text is not a program of this signature.
            ShapeError: It would compute so many values that it would not end.
        """
        graph = parse(fill(self.template, dict(sizes)))
        self._check(graph, sizes)
        values = sum(_nbytes(node) for node in graph.nodes if node.op is not ops.LEAF)
        if values > FLEETING * self.max_bytes:
            raise self._too_large(f"{values:,} bytes of values, kept or not", sizes)
        return guarded(graph)

    def probe(self) -> None:
        """Check the program where no example says at which sizes: it must fit some of a few.

        Raises:
            FormatError, ShapeError: It fits at none; says why not at the last.
        """
        symbols = self.signature.symbols
        for extent in PROBED[:-1] if symbols else ():
            with contextlib.suppress(FormatError, ShapeError):
                self.graph(dict.fromkeys(symbols, extent))
                return
        self.graph(dict.fromkeys(symbols, PROBED[-1]))

    def _affordable(self, runner: backend.Runner, sizes: Mapping[str, int]) -> backend.Runner:
        """Refuse what would take more memory than allowed, which the compiled program tells."""
        if runner.memory > self.max_bytes:
            raise self._too_large(f"{runner.memory:,} bytes", sizes)
        return runner

    def _too_large(self, came: str, sizes: Mapping[str, int]) -> ShapeError:
        return ShapeError(
            f"{self.signature.name}: a run may take at most {self.max_bytes:,} bytes.",
            came=[came, *(f"{name} = {n}" for name, n in sizes.items())],
            fix="send fewer rows at a time, or load with a larger max_bytes",
        )

    def _check(self, graph: Graph, sizes: Mapping[str, int]) -> None:
        """Refuse a program whose leaves and outputs are not what the signature says."""
        if graph.updates:
            self._refuse("a program that writes its inputs", "models are read only")
        for node in graph.nodes:
            if node.op in (ops.SCALAR, ops.RANDOM_BITS, ops.FUNCTION, ops.VARIABLE):
                self._refuse(f"the operation {node.op.name!r}", "the same inputs, the same outputs")
        leaves = [node for node in graph.nodes if node.op is ops.LEAF]
        inputs, state = leaves[: len(self.signature.inputs)], leaves[len(self.signature.inputs) :]
        self._fits("input", inputs, self.signature.inputs, sizes)
        self._fits("output", list(graph.outputs), self.signature.outputs, sizes)
        if len(state) != len(self.weights):
            self._refuse(f"{len(state)} weights", f"the signature names {len(self.weights)}")
        for node, name, array in zip(state, self.signature.state, self.weights, strict=True):
            if node.shape != array.shape or node.dtype.numpy != array.dtype:
                self._refuse(f"{name!r} as {node!r}", f"the weight is {array.dtype} {array.shape}")

    def _fits(
        self, what: str, nodes: list[Node], specs: tuple[TensorSpec, ...], sizes: Mapping[str, int]
    ) -> None:
        if len(nodes) != len(specs):
            self._refuse(f"{len(nodes)} {what}s", f"the signature names {len(specs)}")
        for node, spec in zip(nodes, specs, strict=True):
            # An output may have a dim that only the program knows.
            wanted = [sizes.get(dim) if isinstance(dim, str) else dim for dim in spec.shape]
            same = len(wanted) == len(node.shape) and all(
                w in (None, n) for w, n in zip(wanted, node.shape, strict=True)
            )
            if not same or node.dtype is not spec.dtype:
                self._refuse(f"{what} {spec.name!r} as {node!r}", f"it is {spec}")

    def _refuse(self, came: str, wanted: str) -> NoReturn:
        raise FormatError(
            f"bundle: a program that fits its signature {self.signature.name!r}.", came, wanted
        )


def _nbytes(node: Node) -> int:
    return size(node.shape) * node.dtype.itemsize


def _out_of_range(node: Node, value: int) -> TenorError:
    extent, what = node.attrs
    error, rule, fix = FAILURES[what]
    lowest = -extent if what == "index" else 0
    return error(
        rule.format(lowest=lowest, extent=extent),
        came=f"{what} {value}",
        fix=fix.format(extent=extent),
    )


def _buffer(array: NDArray[Any]) -> Buffer:
    """Lend an array's memory where a kernel can read it; otherwise copy it."""
    if array.flags.c_contiguous and array.flags.aligned:
        return Buffer.from_array(array)
    return copy_of(array)
