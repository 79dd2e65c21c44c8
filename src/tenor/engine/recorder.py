"""Which recorder is used: Python's functions, or the same as builtins made by LLVM.

A process begins with Python's. Once it has recorded so much that compiling the others pays, they
take their places, if this interpreter lays its objects out as it must and the two agree.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import struct
import sys
import sysconfig
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from tenor.config import config
from tenor.engine import call as python
from tenor.engine import trace as tracing
from tenor.engine.call import Call, Entry
from tenor.engine.edge import Edge
from tenor.engine.handle import Handle
from tenor.engine.surroundings import Surroundings
from tenor.engine.trace import Local, Trace, install, local
from tenor.engine.trie import Meta, State, counts, meta, new_root, step
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.runtime import allocator, cpython, flushing, guarding, lending, repeating, replaying
from tenor.runtime.cpython import Address
from tenor.runtime.kept import Kept
from tenor.runtime.launching import Launcher, of_nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Builtins", "Quick", "Ready", "in_python", "native", "use", "use_native", "using"]

FOUND: Final = 500
"""Calls after which the builtins are used where the cache on disk has their machine code."""
PAYS: Final = 1_000
"""Calls after which they are compiled: a step or two of a large network."""


class Ready:
    """A plan as the builtin runs it.

    Attributes:
        launcher: Runs it.
        places: For each live tensor the number of its value: the outputs, then the leaves.
        metas: What each will be.
    """

    __slots__ = ("launcher", "metas", "places")

    def __init__(self, launcher: Launcher, places: bytes, metas: tuple[Meta, ...]) -> None:
        self.launcher = launcher
        self.places = places
        self.metas = metas


class Quick:
    """A call of `tn.compile` that reads tensors and makes new ones, as the builtin runs it again.

    Attributes:
        count: How many tensors it is given.
        grad, mode: The grad mode, and the thread's.
        surroundings: What it could find.
        entries: What each input of the program has to be.
        sources: For each input the number of the argument, or ~ that of the captured tensor.
        captured: Captured tensors.
        scalars: Its numbers.
        ready: Its plan.
        answer: The numbers of the results that it returns; None: the only one.
    """

    __slots__ = (
        "answer", "captured", "count", "entries", "grad", "mode", "ready", "scalars", "sources",
        "surroundings",
    )  # fmt: skip
    answer: tuple[int, ...] | None
    captured: tuple[Handle, ...]
    count: int
    entries: tuple[Entry, ...]
    grad: bool
    mode: Any
    ready: Ready
    scalars: list[Any]
    sources: bytes
    surroundings: Surroundings


SLOTS: Final[dict[type, tuple[str, ...]]] = {
    Trace: Trace.__slots__,
    State: ("calls", "plans", "requires_grad"),
    Meta: Meta.__slots__,
    Handle: tuple(n for n in Handle.__slots__ if not n.startswith("__")),
    Entry: Entry.__slots__,
    Call: ("chains", "checks", "end", "grad", "mode", "names", "results", "scalars", "single",
           "source", "wanted"),
    Edge: Edge.__slots__,
    Ready: Ready.__slots__,
    Quick: Quick.__slots__,
    Surroundings: ("table",),
    Launcher: Launcher.__slots__,
    Kept: Kept.__slots__,
    allocator.Buffer: ("capacity", "lent", "nbytes", "owner", "pointer", "shared", "version"),
    allocator.View: ("buffer",),
}  # fmt: skip
"""The slots that the builtins read and write."""
NAMED: Final = ("trace", "pinning", "flushes", "ROOT", "ready", "_edge")
"""Names of attributes and keys."""


class Builtins(NamedTuple):
    """The functions that are made of machine code; each answers None where Python is to look.

    Attributes:
        replay: Takes the edge of a call that was recorded before.
        run: Runs the thread's trace if its plan is known.
        lend: Returns a tensor's elements as an array.
        module: Takes the edge of a module's call; None where versions are not counted.
        changed: Returns the number of the first entry of a table that is not what it was; -1
            where all are.
        pinned: Runs a call of `tn.compile` again.
        make: Makes an empty handle.
        buffer_gone, loan_gone: What `Buffer` and `Loan` do at their end.
    """

    replay: Callable[..., Any]
    run: Callable[[], Any]
    lend: Callable[[Any], Any]
    module: Callable[[Any, tuple[Any, ...]], Any] | None
    changed: Callable[[bytes], int] | None
    pinned: Callable[[Quick, tuple[Any, ...]], Any] | None
    make: Callable[[], Handle] | None
    buffer_gone: Callable[[allocator.Buffer], None]
    loan_gone: Callable[[allocator.Loan], None]


counted: Final = {"calls": 0}


def _counting(trace: Trace, function: Callable[..., Any], given: Any, named: Any) -> Any:
    """Replay in Python, and look whether the builtins pay by now."""
    counted["calls"] += 1
    if counted["calls"] in (FOUND, PAYS):
        use_native(compiled=counted["calls"] == FOUND)
    return python.replay(trace, function, given, named)


def _nothing(*_: Any) -> None:
    """Leave everything to Python."""


PYTHON: Final = Builtins(
    python.replay, _nothing, _nothing, None, None, None, None,
    allocator.Buffer.__del__, allocator.Loan.__del__,
)  # fmt: skip
in_use: Builtins = PYTHON._replace(replay=_counting)
current: Callable[..., Any] = _counting
run: Callable[[], Any] = _nothing
lend: Callable[[Any], Any] = _nothing
module: Callable[[Any, tuple[Any, ...]], Any] | None = None
changed: Callable[[bytes], int] | None = None
pinned: Callable[[Quick, tuple[Any, ...]], Any] | None = None
"""The functions in use: see `Builtins`."""


def use(made: Builtins) -> None:
    """Use these functions from now on."""
    global in_use, current, run, lend, module, changed, pinned
    in_use, current, run, lend, module, changed, pinned = made, *made[:6]
    install(make=made.make or functools.partial(Handle.__new__, type(Local.make())))
    allocator.Buffer.__del__ = made.buffer_gone  # type: ignore[method-assign]
    allocator.Loan.__del__ = made.loan_gone  # type: ignore[method-assign]


def use_native(*, compiled: bool = False) -> bool:
    """Use the builtins from now on; tell whether they can be used here.

    Args:
        compiled: Leave everything as it is where their machine code is not in the cache.
    """
    wanted = config.native_recorder and config.backend == "llvm"
    made = native(compiled=compiled) if wanted else None
    if made is not None or not compiled:
        use(made or PYTHON)
    return made is not None


@contextlib.contextmanager
def using(made: Builtins) -> Iterator[None]:
    """Use these functions for a while."""
    before = in_use
    use(made)
    try:
        yield
    finally:
        use(before)


def in_python() -> contextlib.AbstractContextManager[None]:
    """Leave everything to Python's functions for a while, which others may watch."""
    return using(PYTHON)


def native(*, compiled: bool = False) -> Builtins | None:
    """Return the builtins; None where this interpreter is another than they are written for.

    Args:
        compiled: Return None as well where their machine code is not in the cache.
    """
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return None
    try:
        slots = {
            f"{kind.__name__}.{name}": cpython.offset(kind, name)
            for kind, names in SLOTS.items()
            for name in names
        }
        texts = (replaying, flushing, lending, repeating, guarding)
        made = Builtins(*cpython.builtins(
            "".join([t.TEXT for t in texts]), {k: v for t in texts for k, v in t.SYMBOLS.items()},
            slots, _constants(), ENTRIES, compiled=compiled,
        ))  # fmt: skip
        if not guarding.counts_versions():
            made = made._replace(module=None, changed=None, pinned=None)
        return made if _agrees(made) else None
    except Exception:  # whatever a foreign interpreter does, Python's recorder works
        return None


FRESH: Final = frozenset(Trace.__slots__) - {"serial"}
"""What every new trace has alike."""
ENTRIES: Final[dict[str, int | type]] = {
    "replay": cpython.METH_FASTCALL, "run": cpython.METH_NOARGS, "lend": cpython.METH_O,
    "module": cpython.METH_FASTCALL, "changed": cpython.METH_O, "pinned": cpython.METH_FASTCALL,
    "make": cpython.METH_NOARGS, "buffer_gone": allocator.Buffer, "loan_gone": allocator.Loan,
}  # fmt: skip


def _constants() -> dict[str, object]:
    """Return what the builtins refer to."""
    array_type, new_array, set_base = _numpy()
    return {
        "State": State, "Entry": Entry, "Handle": Handle, "Buffer": allocator.Buffer, "int": int,
        "str": str, "None": None, "True": True, "False": False, "Tensor": type(Local.make()),
        "Meta": Meta, "nothing": (), "zero": 0, "one": 1, "MemoryError": MemoryError,
        "Edge": Edge, "Ready": Ready, "Loan": allocator.Loan, "DETACH": ops.DETACH,
        "local": local, "recording": vars(tracing), "counts": counts, "serials": tracing.SERIAL,
        "nodict": {}, "noset": frozenset(), "restore": Local.restore, "retire": Local.retire,
        "allocate": allocator.allocate, "free": allocator.free,
        "counted": Address(ctypes.addressof(allocator.counted)), "ndarray": array_type,
        "new_array": new_array, "set_base": set_base,
        "dtypes": {d: d.numpy for d in dt.ALL if d is not dt.bfloat16},
        **{name: sys.intern(name) for name in NAMED},
    }  # fmt: skip


def _numpy() -> tuple[Address, Address, Address]:
    """Return NumPy's array type, and its functions that make one and set what it keeps alive."""
    core = getattr(np, "_core", None) or np.core
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = ctypes.cast(get(core.multiarray._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))
    return Address(table[2] or 0), Address(table[94] or 0), Address(table[282] or 0)


def _agrees(made: Builtins) -> bool:
    """Tell whether the builtins do to a small trace what Python does."""
    return _records(made) and _lends(made) and _runs(made, held=True) and _runs(made, held=False)


def _runs(made: Builtins, held: bool) -> bool:
    """Tell whether the builtins store what a run gave, and begin the next trace, as Python does.

    Args:
        made: The builtins.
        held: Whether somebody holds the trace, which is not the next one then.
    """
    launcher, bases = of_nothing()
    before, flushes = local.trace, counts["flushes"]
    trace = local.trace = Trace(grad=False)
    x, y = Local.make(), Local.make()
    x.buffer, x.meta = allocator.allocate(8), meta((2,), dt.float32)
    root = new_root()
    x.state = leaf = step(root, ops.LEAF, (), ((2,), dt.float32), False, x.meta)
    y.state = trace.state = end = step(leaf, ops.NEG, (leaf,), (), False)
    x.within = y.within = trace
    trace.leaves, trace.owners, trace.outs = [x.buffer], [x], [Local.make(), y]
    trace.outs[0].within, trace.outs[0].state = trace, end
    end.plans |= {"ready": True, (end,): Ready(launcher, struct.pack("=q", 0), (x.meta,))}
    try:
        number, at = trace.serial, id(trace)
        if not held:
            del trace
        done = made.run()
        now = local.trace
        again = made.run()
    finally:
        local.trace, counts["flushes"] = before, flushes
    return (
        [done, y.within, y.meta, again] == [True, None, x.meta, None]
        and bases[:2] == [x.buffer.pointer, y.buffer.pointer] and y.buffer.nbytes == 8
        and all(getattr(now, name) == getattr(Trace(grad=False), name) for name in FRESH)
        and now.serial > number and (trace.done if held else id(now) == at)
    )  # fmt: skip


def _lends(made: Builtins) -> bool:
    """Tell whether the builtins lend memory as Python does."""
    x = Local.make()
    x.within, x.meta = None, meta((2, 3), dt.float32)
    x.buffer = allocator.allocate(24)
    x.buffer.array(np.dtype(np.float32), (2, 3))[:] = [[1, 2, 3], [4, 5, 6]]
    found = made.lend(x)
    if type(found) is not np.ndarray or found.tolist() != [[1, 2, 3], [4, 5, 6]]:
        return False
    shares = found.ctypes.data == x.buffer.pointer and found.flags.writeable and x.buffer.shared
    del found
    return bool(shares) and not x.buffer.shared


def _records(made: Builtins) -> bool:
    seen = []
    for recorder in (python.replay, made.replay):
        trace = Trace(grad=True)
        trace.state = root = new_root()
        x = Local.make()
        x.within, x.buffer, x.meta = None, allocator.allocate(8), meta((2,), dt.float32, True)
        leaf = step(root, ops.LEAF, (), ((2,), dt.float32), True, x.meta)
        turned = step(leaf, ops.PERMUTE, (leaf,), ((0,),), True)
        known = Call((Entry(leaf), 300), ("dims",), True, None, turned)
        known.results, known.scalars, known.source = (turned,), [1.5], (None, ())
        known.chains = ((ops.PERMUTE, ((0,),)),)
        root.calls[native] = (known,)
        given, named = (x, int("300")), {"dims": 300}
        missed = recorder(trace, native, (x, 301), named)
        result = recorder(trace, native, given, named)
        pairs = [
            (missed, None), (trace.state, turned), (x.state, leaf), (x.within, trace),
            (trace.variables[leaf], x), (trace.leaves[0], x.buffer), (trace.owners[0], x),
            (trace.outs[0], result), (trace.views[id(x)][0], result), (result.within, trace),
            (result.state, turned), (result.base, x), (result.chain, known.chains[0]),
        ]  # fmt: skip
        numbers = trace.scalars, result.seen, x.viewed
        seen.append(all(found is wanted for found, wanted in pairs) and numbers == ([1.5], 0, True))
    return all(seen)
