"""A graph as one function, for machines where nothing stands beside it.

`run(weights, inputs, outputs, workspace)` makes a program's launches one after the other. It takes
memory from nobody: what it needs on the way is in the workspace. What only prepares weights is
left out: it is done once, where the model is exported, and lies behind the weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tenor import compiler
from tenor.compiler.bodies import named
from tenor.compiler.emit import llvm
from tenor.compiler.schedule.memory import bytes_of, room_of
from tenor.ir import op as ops
from tenor.ir.loops import Function, Value
from tenor.ir.program import Pointer, Program

if TYPE_CHECKING:
    from tenor.compiler.assemble import Assembly
    from tenor.ir.node import Graph, Node
    from tenor.ir.target import Target

__all__ = ["STATUS", "Whole", "whole"]

STATUS: Final = 16
PARAMS: Final = (("weights", "ptr"), ("inputs", "ptr"), ("outputs", "ptr"), ("workspace", "ptr"))


@dataclass
class Whole:
    """A graph as one function.

    Attributes:
        function: `run`; it returns 0, or the status code of an index out of range.
        target: What it was made for.
        program: Its launches; the first `preparations` are left to whoever lays the weights out.
        labels: What each kernel that it calls computes.
        kernels: The loops of each launch.
        places: Where each weight that it reads lies in the weights, by the leaf's number.
        kept: Where prepared weights begin.
        nbytes: Bytes of the weights.
        workspace: Bytes of the workspace, which begins at a multiple of 64.
    """

    function: Function
    target: Target
    program: Program
    labels: list[str]
    kernels: list[Function]
    places: dict[int, int] = field(default_factory=dict)
    kept: int = 0
    nbytes: int = 0
    workspace: int = 0

    def preparing(self, host: Target) -> Program:
        """Return the launches that prepare weights, for the machine that exports.

        It is given all leaves and gives one output: what is kept.
        """
        program, count = self.program, self.program.preparations
        found = [named(llvm.emit(f, "k_0", host)) for f in self.kernels[:count]]
        made = Program(
            texts=[text for text, _ in found],
            symbols=[symbol for _, symbol in found],
            num_inputs=program.num_inputs,
            output_sizes=[program.kept],
        )
        for number, launch in enumerate(program.launches[:count]):
            tiles, scratch, _ = program.shapes[launch.kernel]
            made.shapes.append((tiles, scratch, 0))
            pointers = tuple(
                Pointer("output", 0, p.at + p.offset) if p.space == "kept" else p
                for p in launch.pointers
            )
            made.launches.append(type(launch)(number, pointers, launch.label))
        return made


def whole(
    graph: Graph,
    target: Target,
    given: int,
    *,
    skip: frozenset[str] = frozenset(),
    places: dict[int, int] | None = None,
    nbytes: int = 0,
) -> Whole:
    """Return a graph as one function.

    Where the graph writes an output over a weight, the function writes the weight.

    Args:
        graph: What is computed. Its first `given` leaves are inputs, the rest weights. Run-time
            numbers, 8 bytes each, are one more input, the last.
        target: What it is computed on.
        given: The number of inputs.
        skip: Names of passes to leave out.
        places, nbytes: Where weights lie, by the leaf's number, and the bytes of all of them; by
            default those that are read follow one another.
    """
    trace: list[compiler.Snapshot] = []
    program = compiler.compile(graph, target, skip=skip, trace=trace)
    assembly: Assembly = next(s.value for s in reversed(trace) if s.name == "lower")
    kernels = [assembly.lowered[use].function for use in assembly.uses]
    function = Function("run", PARAMS, exported=True)
    function.calls_kernels = True
    labels = [launch.label for launch in program.launches[program.preparations :]]
    made = Whole(function, target, program, labels, kernels)
    if places is None:
        _lay_out(made, assembly.graph, given)
    else:
        assert not program.kept, "weights laid out by the caller are not prepared"
        made.places, made.nbytes = places, nbytes
    _Writer(made, assembly.graph, given, assembly.where).write()
    return made


def _lay_out(made: Whole, graph: Graph, given: int) -> None:
    """Decide where weights lie: those that are read, then what is prepared."""
    program = made.program
    leaves = [n for n in graph.nodes if n.op is ops.LEAF]
    read = {
        pointer.at
        for launch in program.launches[program.preparations :]
        for pointer in launch.pointers
        if pointer.space == "input"
    }
    read |= {leaf for leaf, _ in program.donated}
    read |= {leaves.index(n) for n in graph.outputs if n.op is ops.LEAF}
    at = 0
    for number, leaf in enumerate(leaves):
        if number >= given and number in read:
            made.places[number] = at
            at += room_of(bytes_of(leaf))
    made.kept, made.nbytes = at, at + room_of(program.kept)


class _Writer:
    """`run` being written."""

    def __init__(self, made: Whole, graph: Graph, given: int, where: dict[Node, Pointer]) -> None:
        self.made, self.graph, self.given, self.where = made, graph, given, where
        self.f, self.program = made.function, made.program
        self.weights, self.inputs, self.outputs, self.workspace = made.function.params
        leaves = [n for n in graph.nodes if n.op is ops.LEAF]
        self.donated = {at: leaf for leaf, at in made.program.donated}
        self.updates = {at: leaves.index(leaf) for leaf, at in graph.updates}
        launches = made.program.launches[made.program.preparations :]
        shapes = made.program.shapes
        width = made.target.pointer_bytes
        widest = max((len(launch.pointers) for launch in launches), default=0)
        self.launches = launches
        self.scratch = room_of(STATUS + width * widest)
        scratch = max((shapes[launch.kernel][1] for launch in launches), default=0)
        self.arena = self.scratch + room_of(scratch)
        self.late: dict[int, int] = {}
        made.workspace = self.arena + room_of(made.program.arena)
        for at in self.updates.keys() - self.donated.keys():
            self.late[at] = made.workspace
            made.workspace += room_of(bytes_of(graph.outputs[at]))
        self.bases: dict[tuple[str, int], Value] = {}

    def write(self) -> None:
        """Write all of it."""
        f = self.f
        table = f.gep(self.workspace, STATUS, "i8")
        scratch = f.gep(self.workspace, self.scratch, "i8")
        f.store(f.const(0, "i64"), self.workspace, align=8)
        first = self.program.preparations
        for i, launch in enumerate(self.launches):
            kernel = self.made.kernels[first + i]
            for k, pointer in enumerate(launch.pointers):
                f.store(self.address(pointer), table, k)
            tiles = self.program.shapes[launch.kernel][0]
            name = f"k{self._number(kernel)}"
            args = (table, f.const(0, "i64"), f.const(tiles, "i64"), scratch, self.workspace)
            f.call(kernel, args, name)
        self._copies()
        status = f.load("i64", self.workspace, align=8)
        f.result = f.convert("trunc_int", status, "i32")

    def _number(self, kernel: Function) -> int:
        known = {id(k): i for i, k in reversed([*enumerate(self.made.kernels)])}
        return known[id(kernel)]

    def address(self, pointer: Pointer) -> Value:
        """Return where a pointer points."""
        space, at, offset = pointer.space, pointer.at, pointer.offset
        if space == "output" and at in self.donated:
            space, at = "input", self.donated[at]
        if space == "output" and at in self.late:
            return self.f.gep(self.workspace, self.late[at] + offset, "i8")
        if space == "input" and at >= self.given:
            return self.f.gep(self.weights, self.made.places[at] + offset, "i8")
        if space == "kept":
            return self.f.gep(self.weights, self.made.kept + at + offset, "i8")
        if space == "arena":
            return self.f.gep(self.workspace, self.arena + at + offset, "i8")
        if space == "scalar":
            return self.f.gep(self.base("input", self.given), 8 * at + offset, "i8")
        assert space in ("input", "output"), "a size that is not known when the program is made"
        return self.f.gep(self.base(space, at), offset, "i8")

    def base(self, space: str, at: int) -> Value:
        """Return an input's or output's address, loaded once at the top."""
        key = (space, at)
        if key not in self.bases:
            table = self.inputs if space == "input" else self.outputs
            self.bases[key] = self.f.load("ptr", table, at)
        return self.bases[key]

    def _copies(self) -> None:
        """Copy what no kernel wrote where it belongs.

        That is an input given out, a value given out twice, and a weight's new value that could
        not be written over the old one at once.
        """
        for at, node in enumerate(self.graph.outputs):
            found, own = self.where[node], Pointer("output", at)
            to = Pointer("input", self.updates[at]) if at in self.late else own
            if at not in self.donated and (found != own or at in self.late):
                self._copy(self.address(found), self.address(to), bytes_of(node))

    def _copy(self, source: Value, to: Value, count: int) -> None:
        f = self.f
        if count:
            f.loop(0, count, 1, lambda i, _: f.store(f.load("i8", source, i), to, i))
