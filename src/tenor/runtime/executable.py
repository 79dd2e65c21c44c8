"""A program ready to run: one native call for all of its launches."""

from __future__ import annotations

import ctypes
import functools
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tenor.config import config
from tenor.runtime import allocator, cpu, pool
from tenor.runtime.kept import Kept, written

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tenor.ir.program import Program
    from tenor.runtime.allocator import Buffer

__all__ = ["Block", "Context", "Executable", "Interrupted", "MethodDef", "load"]

PANELS: Final = 256 * 1024
"""Scratch of as much holds packed panels, which are read over and over: it takes large pages."""
PIECES: Final = 64
"""Ranges of tiles a launch is handed out in; and elements whose cache lines are whole."""
SERIAL_NS: Final = 4_000
"""Below this a kernel is done before another thread has noticed it."""
ASLEEP_NS: Final = 20_000
"""Below this a kernel, or a program, is done before a thread that sleeps has woken up."""
RELEASE_NS: Final = 50_000
"""Above this other Python threads may run meanwhile, and workers that sleep are woken first."""


LAUNCH_WORDS: Final = 5
"""Words of a launch, as the native loop reads it."""

NOT_BEGUN: Final = -1
"""The status before the native loop sets it to 0."""


class Interrupted(BaseException):
    """A run that ended, and was interrupted before it could hand its results over.

    Attributes:
        results: What `Executable.run` would have returned; the interrupt is the cause.
    """

    def __init__(self, results: tuple[list[Buffer], int, int]) -> None:
        self.results = results
        super().__init__("the run ended")


def load(program: Program) -> Executable:
    """Return a program made ready to run on this machine."""
    return Executable(program, cpu.libraries_of(program.texts, program.symbols))


@functools.cache
def _entries() -> tuple[Callable[[int], int], Callable[[int], int]]:
    """Return the native loop as two Python callables: holding the GIL, and releasing it.

    A builtin made from JITted code is called in 50 ns, ctypes takes ten times that; where the
    builtin does not answer as it should (another Python), ctypes it is.
    """
    call = (ctypes.c_int64 * 11)()
    call[6] = ctypes.addressof(call) + 72
    try:
        made = [_builtin(name) for name in ("run_held", "run_released")]
        if all(run(ctypes.addressof(call)) == 0 for run in made):
            return made[0], made[1]
    except Exception:  # noqa: S110 - whatever a foreign interpreter does, ctypes works
        pass
    return _by_ctypes(ctypes.PYFUNCTYPE), _by_ctypes(ctypes.CFUNCTYPE)


class MethodDef(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = [("name", ctypes.c_char_p), ("meth", ctypes.c_void_p), ("flags", ctypes.c_int),
                ("doc", ctypes.c_char_p)]  # fmt: skip


_definitions: Final[list[MethodDef]] = []
METH_O: Final = 8


def _builtin(name: str) -> Callable[[int], int]:
    definition = MethodDef(name.encode(), pool.entry(name), METH_O, None)
    _definitions.append(definition)
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p] * 3
    return make(ctypes.addressof(definition), None, None)  # type: ignore[no-any-return]


def _by_ctypes(kind: Any) -> Callable[[int], int]:
    execute = kind(None, ctypes.c_void_p)(pool.entry("execute"))

    def run(address: int) -> int:
        execute(address)
        status = ctypes.c_int64.from_address(address + 48).value
        return ctypes.c_int64.from_address(status).value

    return run


class Block(NamedTuple):
    """Outputs that lie in one piece of memory.

    Attributes:
        offsets: Where each output that is made lies in it.
        apart: The numbers of those, among the ones made, that do not.
        size: Its bytes.
    """

    offsets: list[int]
    apart: list[int]
    size: int


class Executable:
    """Runs a program.

    Args:
        program: What to run.
        libraries: Where its kernels are; it keeps their code loaded.

    Attributes:
        donated: Numbers of the inputs whose buffers are written over.
        given: Those by the outputs that are written there.
        fresh, sizes: Numbers and bytes of the outputs that each run makes.
        memory: Bytes a run takes for values and workspace, on one thread.
    """

    def __init__(self, program: Program, libraries: list[cpu.Library]) -> None:
        self.program = program
        self.libraries = libraries
        self.donated = tuple(leaf for leaf, _ in program.donated)
        self.given = {at: leaf for leaf, at in program.donated}
        self.fresh = [i for i in range(len(program.output_sizes)) if i not in self.given]
        self.sizes = [program.output_sizes[i] for i in self.fresh]
        self.arena = program.arena
        inputs, outputs, scalars = program.num_inputs, len(self.fresh), len(program.scalars)
        self.places = self.given | {at: inputs + k for k, at in enumerate(self.fresh)}
        self.first_scalar = inputs + outputs
        self.pack_bases = struct.Struct(f"={inputs + outputs + 4}q").pack_into
        codes = "".join("d" if kind == "f64" else "q" for kind in program.scalars)
        self.pack_scalars = struct.Struct(f"={codes}").pack_into
        self.scalar_bytes = 8 * scalars
        self._tables()
        self.memory = sum(program.output_sizes) + self.arena + self.scratch + program.kept
        self.kept = Kept(program.kept, program.prepared_from) if program.kept else None
        self.contexts: list[Context] = []
        self.run_held, self.run_released = _entries()

    def _tables(self) -> None:
        """Write the launches and their arguments down for the native loop."""
        program = self.program
        found = zip(self.libraries, program.symbols, strict=True)
        addresses = [library.addresses[symbol] for library, symbol in found]
        launches: list[int] = []
        arguments: list[int] = []
        self.scratch = 0
        self.cost = 0
        self.widest = 1
        self.parallel = False
        for launch in program.launches:
            tiles, scratch, cost = program.shapes[launch.kernel]
            spread = tiles > 1 and cost > SERIAL_NS
            chunk = max(1, tiles // PIECES) if spread else 0
            if chunk > PIECES:  # tiles may be single elements: whole cache lines of them
                chunk -= chunk % PIECES
            if cost <= ASLEEP_NS:
                chunk = -chunk
            self.parallel |= spread
            address, first = addresses[launch.kernel], len(arguments) // 2
            launches += [address, first, len(launch.pointers), tiles, chunk]
            for pointer in launch.pointers:
                arguments += self._base(pointer.space, pointer.at, pointer.offset)
            self.scratch = max(self.scratch, -(-scratch // 64) * 64)
            self.cost += cost
            self.widest = max(self.widest, len(launch.pointers))
        self.parallel &= self.cost > ASLEEP_NS
        if self.scratch >= PANELS:
            self.scratch = -(-self.scratch // allocator.PAGE) * allocator.PAGE
        self.launches = (ctypes.c_int64 * max(1, len(launches)))(*launches)
        self.arguments = (ctypes.c_int64 * max(1, len(arguments)))(*arguments)

    def _base(self, space: str, at: int, offset: int) -> tuple[int, int]:
        if space == "input":
            return at, offset
        if space == "output":
            return self.places[at], offset
        if space == "scalar":
            return self.first_scalar, 8 * at + offset
        if space == "number":
            return self.first_scalar + 3, at  # a base that is always 0
        return self.first_scalar + (2 if space == "kept" else 1), at + offset

    def run(self, inputs: list[Any], scalars: list[Any]) -> tuple[list[Buffer], int, int]:
        """Run on buffers and numbers; return the outputs, and (0, 0) or (code, index).

        Raises:
            Interrupted: a signal came while it ran.
        """
        made = list(map(allocator.allocate, self.sizes))
        try:
            code, value = self._run(inputs, scalars, [b.pointer for b in made])
        except Interrupted as late:
            late.results = (self.outputs(inputs, made), *late.results[1:])
            raise
        return self.outputs(inputs, made), code, value

    def outputs(self, inputs: list[Any], made: list[Buffer]) -> list[Buffer]:
        """Return all outputs from those that were made; the others are inputs written over."""
        if not self.given:
            return made
        found: list[Any] = [None] * len(self.program.output_sizes)
        for at, leaf in self.given.items():
            found[at] = inputs[leaf]
        for at, buffer in zip(self.fresh, made, strict=True):
            found[at] = buffer
        return found

    def block(self, together: Collection[int], limit: int) -> Block:
        """Lay outputs of at most so many bytes out one after another.

        Args:
            together: Numbers of the outputs.
            limit: Larger ones, and those written over inputs, stay apart.
        """
        offsets, apart, size = [], [], 0
        for k, (at, nbytes) in enumerate(zip(self.fresh, self.sizes, strict=True)):
            offsets.append(size)
            if at in together and nbytes <= limit:
                size += -(-max(nbytes, 1) // allocator.ALIGN) * allocator.ALIGN
            else:
                apart.append(k)
        return Block(offsets, apart, size)

    def run_together(
        self, inputs: list[Any], scalars: list[Any], block: Block
    ) -> tuple[list[Any], Buffer, int, int]:
        """Run as `run` does, outputs of a block in one piece of memory.

        Returns:
            The buffers made, None for those of the block; the block's memory; (0, 0) or
            (code, index).
        """
        memory = allocator.allocate(block.size)
        base = memory.pointer
        made: list[Any] = [None] * len(block.offsets)
        pointers = [base + offset for offset in block.offsets]
        for k in block.apart:
            made[k] = allocator.allocate(self.sizes[k])
            pointers[k] = made[k].pointer
        try:
            code, value = self._run(inputs, scalars, pointers)
        except Interrupted as late:
            found = self.outputs(inputs, self.parts(made, memory, block))
            late.results = (found, *late.results[1:])
            raise
        return made, memory, code, value

    def parts(self, made: list[Any], memory: Buffer, block: Block) -> list[Buffer]:
        """Return the buffers made, with one for each output of the block."""
        return [
            allocator.Buffer(memory.pointer + offset, nbytes, memory) if b is None else b
            for b, offset, nbytes in zip(made, block.offsets, self.sizes, strict=True)
        ]

    def _run(self, inputs: list[Any], scalars: list[Any], pointers: list[int]) -> tuple[int, int]:
        """Run with the outputs at given addresses; return (0, 0) or (code, index)."""
        try:
            context = self.contexts.pop()
        except IndexError:
            context = Context(self)
        allocate = allocator.allocate
        if self.donated:
            written(inputs, self.donated)
        arena = allocate(self.arena) if self.arena else None
        prepared = self.kept.take(inputs) if self.kept is not None else None
        self.pack_bases(
            context.bases, 0, *[b.pointer for b in inputs], *pointers, context.scalar_address,
            arena.pointer if arena is not None else 0,
            prepared.buffer.pointer if prepared is not None else 0, 0,
        )  # fmt: skip
        if prepared is not None:
            self._skip(context, self.program.preparations if prepared.sources is None else 0)
        if scalars:
            self.pack_scalars(context.scalars, 0, *scalars)
        scratch = allocate(self.scratch) if self.scratch else None
        context.block[5] = scratch.pointer if scratch is not None else 0
        status = context.status
        status[0] = NOT_BEGUN
        try:
            code = self._call(context)
        except BaseException as error:
            if status[0] == NOT_BEGUN:
                raise
            # Python handles a signal between bytecodes, and native code was run to its end.
            raise Interrupted(([], status[0], status[1])) from error
        self.contexts.append(context)
        if prepared is not None:
            prepared.keep(inputs)
        return code, status[1] if code else 0

    def _skip(self, context: Context, count: int) -> None:
        """Begin after so many launches: what they prepare is there."""
        context.block[0] = ctypes.addressof(self.launches) + 8 * LAUNCH_WORDS * count
        context.block[1] = len(self.program.launches) - count

    def _call(self, context: Context) -> int:
        run = self.run_released if self.cost > RELEASE_NS else self.run_held
        held = pool.borrow() if self.parallel and config.threads > 1 else None
        if held is None:
            context.block[7] = 0
            return run(context.address)
        try:
            held.reserve(self.scratch)
            context.block[7] = held.address
            code = run(context.address)
        finally:
            pool.give_back(held)
        if code and not self.given:
            # Which of several bad indices was noted depends on the threads; one alone decides.
            context.block[7] = 0
            code = run(context.address)
        return code


class Context:
    """The memory one run of an executable needs for itself."""

    def __init__(self, executable: Executable) -> None:
        self.bases = (ctypes.c_int64 * (executable.first_scalar + 4))()
        self.scalars = (ctypes.c_int64 * max(1, executable.scalar_bytes // 8))()
        self.scalar_address = ctypes.addressof(self.scalars)
        self.argbuf = (ctypes.c_int64 * executable.widest)()
        self.status = (ctypes.c_int64 * 2)()
        self.block = (ctypes.c_int64 * 9)(
            ctypes.addressof(executable.launches), len(executable.program.launches),
            ctypes.addressof(executable.arguments), ctypes.addressof(self.bases),
            ctypes.addressof(self.argbuf), 0, ctypes.addressof(self.status), 0,
            executable.cost > RELEASE_NS,
        )  # fmt: skip
        self.address = ctypes.addressof(self.block)
