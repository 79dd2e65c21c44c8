"""Which recorder is used: `call.replay` in Python, or the same as a builtin made by LLVM.

A process begins with Python's. Once it has recorded so much that compiling the other pays, that
takes its place, if this interpreter lays its objects out as it must and the two agree.
"""

from __future__ import annotations

import sysconfig
from typing import TYPE_CHECKING, Any, Final

from tenor.config import config
from tenor.engine import call as python
from tenor.engine.call import Call, Entry
from tenor.engine.handle import Handle
from tenor.engine.trace import Local, Trace
from tenor.engine.trie import State, meta, new_root, step
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.runtime import allocator, replaying

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["current", "native", "use_native"]

PAYS: Final = 4_000
"""Calls after which the builtin is compiled: a step or two of a large network."""
SLOTS: Final[dict[type, tuple[str, ...]]] = {
    Trace: ("done", "grad", "leaves", "mode", "outs", "owners", "scalars", "state", "variables",
            "views"),
    State: ("calls", "requires_grad"),
    Handle: ("state", "within"),
    Entry: ("meta", "state"),
    Call: ("chains", "checks", "end", "grad", "mode", "names", "results", "scalars", "single",
           "source", "wanted"),
    allocator.Buffer: ("shared",),
}  # fmt: skip
"""The slots that the builtin reads and writes."""
counted: Final = {"calls": 0}


def _counting(trace: Trace, function: Callable[..., Any], given: Any, named: Any) -> Any:
    """Replay in Python, and look whether the builtin pays by now."""
    counted["calls"] += 1
    if counted["calls"] == PAYS:
        use_native()
    return python.replay(trace, function, given, named)


current: Callable[..., Any] = _counting
"""Takes the edge of a call that was recorded before; None where there is none."""


def use_native() -> bool:
    """Record by the builtin from now on; tell whether it can be used here."""
    global current  # noqa: PLW0603 - one recorder for the process
    found = native() if config.native_recorder and config.backend == "llvm" else None
    current = python.replay if found is None else found
    return found is not None


def native() -> Callable[..., Any] | None:
    """Return the builtin; None where this interpreter is another than it is written for."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return None
    try:
        slots = {
            f"{kind.__name__}.{name}": replaying.offset(kind, name)
            for kind, names in SLOTS.items()
            for name in names
        }
        made = replaying.builtin(slots, _constants())
        return made if _agrees(made) else None
    except Exception:  # whatever a foreign interpreter does, Python's recorder works
        return None


def _constants() -> dict[str, object]:
    named = ("meta", "base", "hooks", "buffer", "chain", "seen", "version", "viewed")
    return {
        "State": State, "Entry": Entry, "Handle": Handle, "Buffer": allocator.Buffer, "int": int,
        "str": str, "None": None, "True": True, "False": False, "make": Local.make,
        **{name: name for name in named},
    }  # fmt: skip


def _agrees(made: Callable[..., Any]) -> bool:
    """Tell whether the builtin does to a small trace what Python does."""
    seen = []
    for recorder in (python.replay, made):
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
