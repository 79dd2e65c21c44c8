"""A source as two WebAssembly modules, with and without relaxed SIMD, that share one layout.

Both have one memory, whose size is decided here and never changes. From `__heap_base` on it holds
the weights, and behind them inputs, outputs, the tables of their addresses, and a workspace. While
a model is loaded, what weights are packed from lies where inputs will be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenor.compiler.preparing import preparing
from tenor.compiler.schedule.memory import bytes_of, room_of
from tenor.compiler.whole import whole
from tenor.export.objects import object_of
from tenor.export.training import trainable_of
from tenor.export.web.linker import lacking, link
from tenor.ir.target import Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tenor.export.source import Source
    from tenor.export.training import Training
    from tenor.ir.loops import Function
    from tenor.ir.node import Node
    from tenor.save import LoadedModel

__all__ = ["Modules", "Place", "Step", "modules_of", "trained_modules"]

LEVEL = 2
"""LLVM's level: 3 makes the same code of our loops."""


@dataclass(frozen=True)
class Place:
    """A value in memory: its name, what it is, and where it lies, from `__heap_base` on."""

    name: str
    node: Node
    at: int

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        return bytes_of(self.node)


@dataclass(frozen=True)
class Modules:
    """A source as WebAssembly. Addresses count from `__heap_base`.

    Attributes:
        simd: The module with 128-bit SIMD.
        relaxed: The module with relaxed SIMD.
        inputs: Where each input lies.
        outputs: Where each output lies.
        tables: Where the tables of the inputs' and the outputs' addresses lie.
        workspace: Where `run` works.
        preparing: Where `prepare` works; None where no weight is prepared.
        weights: Each weight that is read: its name, its numbers, where they go.
        nbytes: Bytes of the whole.
        step: The training step beside it, where there is one.
    """

    simd: bytes
    relaxed: bytes
    inputs: list[Place]
    outputs: list[Place]
    tables: tuple[int, int]
    workspace: int
    preparing: int | None
    weights: list[tuple[str, NDArray[Any], int]]
    nbytes: int
    step: Step | None = None


@dataclass(frozen=True)
class Step:
    """A training step, `train`, which writes the weights that `run` reads.

    Attributes:
        training: What it was made from.
        inputs: Where each input and target lies.
        loss: Where it leaves the loss.
        numbers: Where its table of numbers lies.
        tables: Where the tables of the inputs' and the outputs' addresses lie.
        workspace: Where it works.
        state: Where each tensor of the state lies, by name.
    """

    training: Training
    inputs: list[Place]
    loss: Place
    numbers: int
    tables: tuple[int, int]
    workspace: int
    state: dict[str, int]


def modules_of(source: Source) -> Modules:
    """Return a source as WebAssembly modules.

    Raises:
        CompileError: It needs what no WebAssembly instruction does, or more than 4 GB.
    """
    made = whole(source.graph, Target.wasm32(), len(source.inputs))
    prepare = preparing(made, source.graph)
    functions = {"run": made.function}
    places, end, before = made.places, made.nbytes, 0
    if prepare:
        functions["prepare"] = prepare.function
        places, end, before = prepare.places, prepare.nbytes, prepare.workspace
    inputs, at = _placed(source.inputs, room_of(made.nbytes))
    outputs, at = _placed(source.outputs, at)
    tables = (at, at + 4 * len(inputs))
    workspace = room_of(tables[1] + 4 * len(outputs))
    nbytes = max(room_of(end) + before, workspace + made.workspace)
    simd, relaxed = _linked(functions, nbytes)
    weights = list(source.weights.items())
    laid = [(*weights[n - len(source.inputs)], to) for n, to in sorted(places.items())]
    start = room_of(end) if prepare else None
    return Modules(
        simd, relaxed, inputs, outputs, tables, workspace, start, laid, nbytes
    )  # fmt: skip


def trained_modules(model: LoadedModel, training: Training) -> Modules:
    """Return a model and its training step as WebAssembly modules, over one state.

    Raises:
        CompileError: It needs what no WebAssembly instruction does, or more than 4 GB.
    """
    both = trainable_of(model, training, Target.wasm32())
    source, step = both.predict.source, training.step
    inputs, at = _placed(source.inputs, room_of(both.train.weights.size))
    outputs, at = _placed(source.outputs, at)
    named = dict(zip([*source.inputs, *training.targets], step.inputs.values(), strict=True))
    rows, at = _placed(named, at)
    (loss,), numbers = _placed({"loss": step.outputs["loss"]}, at)
    tables = room_of(numbers + 8 * len(training.numbers))
    asked = (tables, tables + 4 * len(inputs))
    stepped = (asked[1] + 4 * len(outputs), asked[1] + 4 * (len(outputs) + len(rows) + 1))
    workspace = room_of(stepped[1] + 4 * len(step.outputs))
    nbytes = workspace + max(both.predict.workspace, both.train.workspace)
    functions = {"run": both.predict.whole.function, "train": both.train.whole.function}
    simd, relaxed = _linked(functions, nbytes)
    made = Step(training, rows, loss, numbers, stepped, workspace, both.places)
    values = {**source.weights, **step.weights}
    weights = [(name, values[name], to) for name, to in both.places.items() if values[name].any()]
    return Modules(
        simd, relaxed, inputs, outputs, asked, workspace, None, weights, nbytes, made
    )  # fmt: skip


def _placed(values: Mapping[str, Node], at: int) -> tuple[list[Place], int]:
    """Place values one behind the other; return where they lie and where the last ends."""
    made = []
    for name, node in values.items():
        made.append(Place(name, node, at))
        at = room_of(at + made[-1].nbytes)
    return made, at


def _linked(functions: Mapping[str, Function], heap: int) -> tuple[bytes, bytes]:
    """Return functions as a module for SIMD and one for relaxed SIMD.

    The text is one: only what LLVM makes of `a * b + c` differs.
    """
    made = []
    for relaxed in (False, True):
        target = Target.wasm32(relaxed=relaxed)
        data = object_of(functions, target, lacks=lacking, level=LEVEL)
        made.append(link(data, heap, exports=functions).module)
    return made[0], made[1]
