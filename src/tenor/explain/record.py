"""What is known of one computation: everything a report shows, as plain values."""

from __future__ import annotations

import linecache
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tenor.compiler import Snapshot
from tenor.compiler import compile as compile_graph
from tenor.config import config
from tenor.explain.formula import expressions, formula
from tenor.explain.machine import code_of
from tenor.explain.timing import kernel_seconds
from tenor.explain.traffic import Traffic, traffic_of
from tenor.ir import op as ops
from tenor.ir.node import Graph, Node
from tenor.ir.text import to_text
from tenor.runtime import cpu

if TYPE_CHECKING:
    from tenor.ir.kernel import Kernel
    from tenor.ir.program import Program

__all__ = ["Body", "KernelCall", "Operand", "PassRun", "ProgramRecord", "Report", "SourceLine",
           "record_of"]  # fmt: skip


@dataclass(frozen=True)
class SourceLine:
    """A line of the user's, and what it recorded: operations with how often, first to last."""

    file: str
    line: int
    text: str
    operations: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class PassRun:
    """A compiler pass: its time, and how many nodes (or kernels) it left."""

    name: str
    seconds: float
    left: str
    skipped: bool = False


@dataclass(frozen=True)
class Operand:
    """A kernel's buffer: its name in the simplified graph, type, bytes, and where it lies."""

    name: str
    type: str
    nbytes: int
    written: bool
    place: str


@dataclass(frozen=True)
class Body:
    """A distinct kernel as code; launches of equal kernels share one.

    Attributes:
        number: Its number in the program, from 1.
        symbol: The exported symbol.
        loops: As loops.
        ir: As LLVM IR, before LLVM's own passes.
        assembly: As this machine's assembly.
        size: Bytes of instructions.
        seconds: How long LLVM took.
        calls: How many launches use it.
    """

    number: int
    symbol: str
    loops: str
    ir: str
    assembly: str
    size: int
    seconds: float
    calls: int


@dataclass(frozen=True)
class KernelCall:
    """One launch.

    Attributes:
        number: Its place in the program, from 1.
        label: The operations whose results it stores.
        lines: The user's lines whose results it stores, as numbers.
        kind: "map", "reduce" or the name of a template.
        domain: Its index space.
        reduce_dims: The dims of the domain it reduces.
        operations: Every operation computed in it, with how often: what was fused.
        operands: Its buffers.
        formula: What it computes, as text.
        traffic: Bytes and arithmetic.
        body: The number of its code.
        tiles: Into how many independent parts it can be split between threads.
        seconds: Measured alone on zeros; None where not measured.
    """

    number: int
    label: str
    lines: tuple[int, ...]
    kind: str
    domain: tuple[int, ...]
    reduce_dims: tuple[int, ...]
    operations: tuple[tuple[str, int], ...]
    operands: tuple[Operand, ...]
    formula: str
    traffic: Traffic
    body: int
    tiles: int
    seconds: float | None


@dataclass
class ProgramRecord:
    """One program: a graph and everything it became.

    Attributes:
        number: Its place in the report, from 1.
        lines: The user's lines that recorded it.
        graph: As recorded, as text.
        simplified: As the graph passes left it, as text; kernels name its values.
        recorded_nodes: Nodes as recorded.
        nodes: Nodes left by the graph passes.
        inputs: Types of the tensors given to it.
        outputs: Types of the tensors it gives.
        scalars: Numbers given to it.
        donated: Inputs written in place.
        arena: Bytes of memory for intermediate values.
        passes: Every pass in order.
        kernels: The launches in order.
        bodies: The distinct kernels.
        unobserved: Whether the script never looked at it, so that it was run at the script's end.
    """

    number: int
    lines: tuple[SourceLine, ...] = ()
    graph: str = ""
    simplified: str = ""
    recorded_nodes: int = 0
    nodes: int = 0
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    scalars: int = 0
    donated: int = 0
    arena: int = 0
    passes: tuple[PassRun, ...] = ()
    kernels: tuple[KernelCall, ...] = ()
    bodies: tuple[Body, ...] = ()
    unobserved: bool = False

    @property
    def main_line(self) -> SourceLine | None:
        """The line that recorded most of it."""
        return max(self.lines, key=lambda s: sum(n for _, n in s.operations), default=None)

    @property
    def span(self) -> str:
        """Its lines' numbers, e.g. "3" or "3-9"; of the file of the main line."""
        main = self.main_line
        if main is None:
            return ""
        numbers = [s.line for s in self.lines if s.file == main.file]
        low, high = min(numbers), max(numbers)
        return str(low) if low == high else f"{low}-{high}"

    @property
    def flops(self) -> int:
        """Arithmetic operations of one run."""
        return sum(k.traffic.flops for k in self.kernels)

    @property
    def moved(self) -> int:
        """Bytes read and written by one run."""
        return sum(k.traffic.read + k.traffic.written for k in self.kernels)

    @property
    def code(self) -> int:
        """Bytes of machine code."""
        return sum(b.size for b in self.bodies)

    @property
    def seconds(self) -> float | None:
        """The sum of the kernels' measured times; None where one was not measured."""
        every = [k.seconds for k in self.kernels]
        return None if None in every else sum(s for s in every if s is not None)

    @property
    def compile_seconds(self) -> float:
        """Time of all passes, and LLVM's."""
        return sum(p.seconds for p in self.passes) + sum(b.seconds for b in self.bodies)


@dataclass
class Report:
    """What a script ran.

    Attributes:
        script: Its path.
        programs: One record a graph compiled, in order.
        seconds: How long the script took.
        failure: The script's exception as text, or "".
        status: The script's exit status.
        target: What code was generated for.
        skipped: Passes switched off.
    """

    script: str
    programs: list[ProgramRecord] = field(default_factory=list)
    seconds: float = 0.0
    failure: str = ""
    status: int = 0
    target: str = ""
    skipped: tuple[str, ...] = ()


def record_of(
    number: int, graph: Graph, *, measure: bool = True, unobserved: bool = False
) -> ProgramRecord:
    """Return everything about a graph, which is compiled once more for it.

    Args:
        number: What the record is numbered.
        graph: A graph as the engine compiled it.
        measure: Whether to run every kernel for its time.
        unobserved: Whether the script never looked at the graph's values.
    """
    trace: list[Snapshot] = []
    target = cpu.host_target()
    program = compile_graph(graph, target, skip=config.skip_passes, trace=trace)
    assembly = trace[-1].value
    simple = assembly.graph
    return ProgramRecord(
        number=number,
        lines=_lines(graph),
        graph=to_text(graph),
        simplified=to_text(simple),
        recorded_nodes=len(graph.nodes),
        nodes=len(simple.nodes),
        inputs=tuple(_type(n) for n in simple.nodes if n.op is ops.LEAF),
        outputs=tuple(_type(n) for n in simple.outputs),
        scalars=len(program.scalars),
        donated=len(program.donated),
        arena=program.arena,
        passes=tuple(_pass(snapshot) for snapshot in trace),
        kernels=tuple(_kernels(assembly, program, measure)),
        bodies=tuple(_bodies(assembly, program)),
        unobserved=unobserved,
    )


def _type(node: Node) -> str:
    return f"{node.dtype.text}[{','.join(map(str, node.shape))}]"


OF_KERNELS: Final = frozenset(
    ("fuse", "rows", "finish", "epilogue", "prepare", "channels", "arena")
)
"""Passes that leave kernels in order."""


def _pass(snapshot: Snapshot) -> PassRun:
    value = snapshot.value
    if isinstance(value, Graph):
        left = f"{len(value.nodes)} nodes"
    elif snapshot.name in OF_KERNELS:
        left = f"{len(value.schedule.kernels)} kernels"
    else:
        left = f"{len(value.bodies)} distinct kernels"
    return PassRun(snapshot.name, snapshot.seconds, left, snapshot.name in config.skip_passes)


def _lines(graph: Graph) -> tuple[SourceLine, ...]:
    """Return the user's lines in the order they were first met."""
    found: dict[tuple[str, int], Counter[str]] = {}
    for node in graph.nodes:
        if node.site is not None:
            found.setdefault(node.site, Counter())[node.op.name] += 1
    return tuple(
        SourceLine(file, line, linecache.getline(file, line).strip(), tuple(count.items()))
        for (file, line), count in found.items()
    )


def _kernels(assembly: Any, program: Program, measure: bool) -> list[KernelCall]:
    schedule = assembly.schedule
    names = {node: f"%{i}" for i, node in enumerate(assembly.graph.nodes)}
    measured: dict[int, float | None] = {}
    calls = []
    for at, (kernel, values, launch) in enumerate(
        zip(schedule.kernels, schedule.values, program.launches, strict=True)
    ):
        if measure and launch.kernel not in measured:
            measured[launch.kernel] = kernel_seconds(program, launch, kernel)
        called = [names.get(node, "?") for node in values]
        places = [f"{p.space} {p.at}{f'+{p.offset}' if p.offset else ''}" for p in launch.pointers]
        operands = tuple(
            Operand(name, _type(node), b.size * b.dtype.itemsize, b.written, place)
            for name, node, b, place in zip(called, values, kernel.buffers, places, strict=True)
        )
        calls.append(
            KernelCall(
                number=at + 1,
                label=launch.label,
                lines=_line_numbers(values, kernel),
                kind=kernel.kind,
                domain=tuple(kernel.domain),
                reduce_dims=kernel.reduce_dims,
                operations=_operations(kernel),
                operands=operands,
                formula=formula(kernel, called),
                traffic=traffic_of(kernel),
                body=launch.kernel + 1,
                tiles=program.shapes[launch.kernel][0],
                seconds=measured.get(launch.kernel),
            )
        )
    return calls


def _line_numbers(values: list[Node], kernel: Kernel) -> tuple[int, ...]:
    pairs = zip(values, kernel.buffers, strict=True)
    sites = [node.site for node, buffer in pairs if buffer.written and node.site is not None]
    return tuple(sorted({line for _, line in sites}))


def _operations(kernel: Kernel) -> tuple[tuple[str, int], ...]:
    """Return the operations a kernel computes, with how often each stands in it."""
    if kernel.parts:
        template = kernel.kind not in ("rows", "channels")
        counts = Counter[str]({kernel.kind: 1} if template else {})
        for part in kernel.parts:
            counts.update(dict(_operations(part.kernel)))
        return tuple(counts.items())
    if not kernel.stores:
        return ((kernel.kind, 1),)
    names = [e.op for e in expressions(kernel) if e.op in ops.OPS and ops.OPS[e.op].arity]
    return tuple(Counter([*names, *(op for op, _ in kernel.reductions)]).items())


def _bodies(assembly: Any, program: Program) -> list[Body]:
    calls = Counter(launch.kernel for launch in program.launches)
    loops = _loops(assembly, program)
    made = []
    for number, (text, symbol) in enumerate(zip(program.texts, program.symbols, strict=True)):
        code = code_of(text)
        made.append(
            Body(number + 1, symbol, loops[number], text, code.assembly, code.size, code.seconds,
                 calls[number])
        )  # fmt: skip
    return made


def _loops(assembly: Any, program: Program) -> dict[int, str]:
    """Return the loops behind each text: several lowered kernels may print as one text."""
    found: dict[int, str] = {}
    for use, launch in zip(assembly.uses, program.launches, strict=True):
        if launch.kernel not in found:
            found[launch.kernel] = assembly.lowered[use].function.text()
    return found
