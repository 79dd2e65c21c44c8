"""The recorder: a walk over the trie, and what the walk has met."""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from time import sleep
from typing import TYPE_CHECKING, Any, Final

from tenor.engine.trie import State, forget_plans, meta, new_root, step
from tenor.errors import GradientError, ObservationError, user_line
from tenor.ir import op as ops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.engine.gradients import Gradients
    from tenor.engine.handle import Handle
    from tenor.ir.dtype import DType
    from tenor.ir.op import Op

__all__ = [
    "FunctionCall", "Linked", "Local", "Trace", "advance", "await_write", "emit_scalar", "enter",
    "handle_of", "install", "local", "record", "record_check", "refuse_detached",
    "refuse_observation", "reset_trie", "state_of",
]  # fmt: skip

SERIAL: Final = itertools.count(1)
ROOT: State = new_root()


class Trace:
    """One walk from the root to the next flush.

    Attributes:
        state: Where it stands.
        leaves: Buffers met, in the order of the LEAF states on the path.
        scalars: Numbers met, in the order of the SCALAR states.
        outs: Handles made, in order.
        donors: Leaf states whose tensor was written in place, by the handle's id: their buffers may
            be written over.
        owners: The tensors behind `leaves`.
        providers: Pairs (scalar number, function): asked again at each run of a pinned plan.
        rebound: Handles written in place, by id; they are always kept.
        variables: Leaf states that require a gradient, and their tensors.
        functions: Contexts of custom Functions, by the state of each output.
        hooks: Gradient hooks by state; those of a leaf belong to the leaf and only show here.
        overwritten: States whose tensor was written in place, and how deep the trace was before.
        views: Views met, by their base's id: to be derived again when it is written.
        foreign: States of tensors that another thread has in its trace, by the handle's id.
        freed: States a backward pass went over and let go.
        gradients: What backward passes gave, where that is one object yet (see `gradients`).
        deferred: Writes that the flush does, and the tensors they write (see `writes`).
        grad: The grad mode.
        mode: What a recorded call depends on of the thread: the dtype that products are computed
            in (`tn.autocast`), or True where every operation is run at once.
        sealed: Whether it is being run: its leaves may be written over.
        serial: Later traces have larger numbers.
        done: Whether it has been flushed.
    """

    __slots__ = (
        "deferred",
        "done",
        "donors",
        "foreign",
        "freed",
        "functions",
        "grad",
        "gradients",
        "hooks",
        "leaves",
        "mode",
        "outs",
        "overwritten",
        "owners",
        "providers",
        "rebound",
        "scalars",
        "sealed",
        "serial",
        "state",
        "variables",
        "views",
    )  # fmt: skip

    def __init__(self, grad: bool, mode: DType | bool | None = None) -> None:
        self.state = ROOT
        self.leaves: list[Any] = []
        self.scalars: list[Any] = []
        self.outs: list[Handle] = []
        self.donors: dict[int, State] = {}
        self.owners: list[Handle] = []
        self.providers: list[tuple[int, Callable[[], Any]]] = []
        self.rebound: dict[int, Handle] = {}
        self.variables: dict[State, Handle] = {}
        self.functions: dict[State, Any] = {}
        self.hooks: dict[State, list[Callable[[Any], Any]]] = {}
        self.overwritten: dict[State, int] = {}
        self.views: defaultdict[int, list[Handle]] = defaultdict(list)
        self.foreign: dict[int, State] = {}
        self.freed: AbstractSet[State] = frozenset()
        self.gradients: list[Gradients] = []
        self.deferred: list[tuple[Any, list[Handle]]] = []
        self.grad = grad
        self.mode = mode
        self.serial = next(SERIAL)
        self.sealed = False
        self.done = False


Linked = Callable[[int, Any], Any]
"""Makes a handle of an output of a custom Function, with its history, from its number and value."""


@dataclass
class FunctionCall:
    """One call of a custom Function: asked for input gradients when its outputs' are known.

    Attributes:
        outputs: The states of its outputs, first to last.
        backward: From the outputs' gradients (None where none flows) to the inputs'. It is also
            given `Linked`.
        release: Lets go what was kept for it.
    """

    outputs: list[State]
    backward: Callable[[list[Handle | None], Linked], Sequence[Handle | None]]
    release: Callable[[], object] = lambda: None


class Local(threading.local):
    """What belongs to a thread: its trace and its modes.

    Attributes:
        trace: The trace being recorded.
        immediate: Whether every operation is run at once.
        whole: Whether what is recorded must not be run in the middle (`checkpoint`).
        lowered: The dtype that products are computed in instead of float32 (`tn.autocast`).
        pinning: The function being compiled by `tn.compile`, where observation is an error.
        grads: Tensors whose `.grad` it touched, what that was before, and whether it was read.
        known: Tensors it made of Python data, by state: their values may be read.
        repeatable: Whether running its plan again does all that it did.
        make: Makes an empty handle; `tensor` sets it to Tensor's.
        flush: Runs the trace; `engine.flush` sets it.
        evaluate: Computes a pending handle of another thread; `engine.flush` sets it.
        restore: Undoes what was done to run a trace, which was not; `engine.flush` sets it.
        retire: Ends a trace that was run, and begins the thread's next; `engine.flush` sets it.
        together: Runs a trace with gradients or deferred writes; `engine.together` sets it.
    """

    make: Callable[[], Handle]
    flush: Callable[..., None]
    evaluate: Callable[[Handle], tuple[Any, State]]
    restore: Callable[[Trace, list[Handle]], None]
    retire: Callable[[Trace], None]
    together: Callable[[Trace], None]

    def __init__(self) -> None:
        self.trace = Trace(grad=True)
        self.immediate = False
        self.whole = False
        self.lowered: DType | None = None
        self.pinning: str | None = None
        self.guards: list[tuple[object, str, Any]] = []
        self.grads: dict[int, tuple[Handle, Handle | None, bool]] = {}
        self.known: dict[State, Handle] = {}
        self.repeatable = True

    def switch(self, name: str, value: Any) -> Any:
        """Set `immediate` or `lowered`; return what it was."""
        before = getattr(self, name)
        setattr(self, name, value)
        self.trace.mode = True if self.immediate else self.lowered
        return before


local: Final = Local()


def install(**functions: Callable[..., Any]) -> None:
    """Tell the recorder how handles are made and traces are run (the layers above know)."""
    for name, function in functions.items():
        setattr(Local, name, staticmethod(function))


def reset_trie() -> None:
    """Forget every trace and plan; pending work is run first."""
    global ROOT
    local.flush()
    before, ROOT = ROOT, new_root()
    local.trace.state = ROOT
    forget_plans(before)


def enter(trace: Trace, handle: Handle) -> State:
    """Return the state of a handle that is not pending in this trace: register it as a leaf."""
    owner = handle.within
    if owner is not None and not owner.done:
        return _foreign(trace, handle)
    if handle.base is not None and handle.seen != handle.base.version:
        return refresh(handle).state
    buffer = handle.buffer
    shared = buffer.shared
    if shared:
        buffer = buffer.snapshot()
    what = handle.meta
    assert what is not None
    at = trace.state
    state = at.last
    if state is None or state.a is not what or state.op is not ops.LEAF:
        state = step(at, ops.LEAF, (), (what.shape, what.dtype), trace.grad, what)
    trace.state = state
    trace.leaves.append(buffer)
    trace.owners.append(handle)
    if not shared:  # else another may write it before its next use, which then enters it again
        handle.within = trace
        handle.state = state
        if handle.base is not None:
            trace.views[id(handle.base)].append(handle)
    if what.requires_grad:
        trace.variables[state] = handle
        if handle.hooks and handle.segment is None:
            trace.hooks[state] = handle.hooks
    return state


def _foreign(trace: Trace, handle: Handle) -> State:
    """Enter a value another thread has in its trace, without touching the handle or that trace.

    A value that is stored is used as it is; one still pending is computed apart.
    """
    base = handle.base
    if base is not None and handle.seen != base.version:
        return _derived(base, handle)
    known = trace.foreign.get(id(handle))
    if known is not None:
        return known
    stored = handle.state.op is ops.LEAF and handle.buffer is not None
    if stored:
        await_write(handle)
    if stored:
        buffer, what = handle.buffer, handle.meta
    else:
        if handle.state.requires_grad and handle.state.op is not ops.VARIABLE and trace.grad:
            raise GradientError(
                "threads: a tensor that requires a gradient was recorded by another thread and "
                "not computed yet.",
                came=f"shape {handle.state.shape}",
                fix="observe it in its own thread, or pass x.detach()",
            )
        buffer, state = local.evaluate(handle)
        what = meta(state.shape, state.dtype, state.op is ops.VARIABLE)
    assert what is not None
    state = step(trace.state, ops.LEAF, (), (what.shape, what.dtype), trace.grad, what)
    trace.state = trace.foreign[id(handle)] = state
    trace.leaves.append(buffer.snapshot() if buffer.shared else buffer)
    trace.owners.append(handle)
    if what.requires_grad:
        trace.variables[state] = handle
        if handle.hooks and handle.segment is None:
            trace.hooks[state] = handle.hooks
    return state


def await_write(handle: Handle) -> None:
    """Wait while another thread writes over what a tensor has in memory."""
    trace = handle.within
    while (
        trace is not None
        and trace.sealed
        and any(h is handle for _, tensors in trace.deferred for h in tensors)
    ):
        sleep(0.0001)


def refresh(handle: Handle) -> Handle:
    """Derive a view again after its base was written; like entering, it never ends the trace."""
    base = handle.base
    assert base is not None
    if handle.segment is not None:
        refuse_detached(handle)
        handle.segment = handle.origin = None
    state = _derived(base, handle)
    trace = local.trace
    handle.within = trace
    handle.state = state
    handle.seen = base.version
    trace.rebound[id(handle)] = handle
    trace.views[id(base)].append(handle)
    return handle


def _derived(base: Handle, view: Handle) -> State:
    """Record what derives a view from its base."""
    state = state_of(base)
    trace = local.trace
    mode, trace.grad = trace.grad, True  # a view has its base's gradient in any mode
    for op, attrs in view.chain:
        state = advance(trace, op, (state,), attrs)
    trace.grad = mode
    return state


def refuse_detached(view: Handle) -> None:
    """Raise where a detached tensor has a gradient of its own and must be derived again."""
    if any(op is ops.DETACH for op, _ in view.chain):
        raise GradientError(
            "in-place: a detached tensor that was given a gradient shares its elements with one "
            "that has none, and both are written.",
            came=f"a detached tensor of shape {view.shape_tuple}",
            fix="work on x.detach().clone()",
        )


def state_of(handle: Handle) -> State:
    """Return the handle's position in the current trace."""
    trace = local.trace
    return handle.state if handle.within is trace else enter(trace, handle)


def handle_of(state: State) -> Handle:
    """Return a new handle on a value of the current trace."""
    trace = local.trace
    handle = local.make()
    handle.within = trace
    handle.state = state
    trace.outs.append(handle)
    return handle


def record(op: Op, inputs: tuple[Handle, ...], attrs: tuple[Any, ...] = ()) -> Any:
    """Record one operation on handles; return the handle of its result."""
    trace = local.trace
    if trace.state.boundary and not local.whole:
        local.flush()
        trace = local.trace
    states = tuple([h.state if h.within is trace else enter(trace, h) for h in inputs])
    state = advance(trace, op, states, attrs)
    handle = local.make()
    handle.within = trace
    handle.state = state
    trace.outs.append(handle)
    if local.immediate:
        local.flush()
    return handle


def record_check(index: Handle, extent: int, what: str) -> Any:
    """Record that an index lies in an extent; return it, counted from the start.

    A bad index is found when the plan runs. It is reported at the line that records the check now,
    which need not be the one that recorded it first.
    """
    checked = record(ops.WRAP_INDEX, (index,), (extent, what))
    if not local.immediate:
        checked.state.site = user_line()
    return checked


def advance(trace: Trace, op: Op, states: tuple[State, ...], attrs: tuple[Any, ...]) -> State:
    """Move the trace over one operation on its own states; return the new state."""
    at = trace.state
    state = at.last
    if (
        state is None
        or state.op is not op
        or state.inputs != states
        or state.attrs != attrs
        or state.grad is not trace.grad
    ):
        state = step(at, op, states, attrs, trace.grad)
    trace.state = state
    return state


def emit_scalar(value: Any, dtype: DType, provider: Callable[[], Any] | None = None) -> Any:
    """Record a Python number as a run-time slot of shape (); it never causes a recompile.

    Args:
        value: The number.
        dtype: The dtype it takes part as.
        provider: Asked for the number at each later run of a pinned plan; by default the number
            stays what it was.
    """
    trace = local.trace
    if trace.state.boundary and not local.whole:
        local.flush()
        trace = local.trace
    state = advance(trace, ops.SCALAR, (), (dtype,))
    if provider is not None:
        trace.providers.append((len(trace.scalars), provider))
    trace.scalars.append(value)
    handle = local.make()
    handle.within = trace
    handle.state = state
    trace.outs.append(handle)
    return handle


def refuse_observation(what: str) -> None:
    """Raise where a value is read inside a function being compiled."""
    if local.pinning is not None:
        raise ObservationError(
            f"tn.compile: {what} reads a value inside the compiled function "
            f"{local.pinning!r}, before it exists.",
            came="a data-dependent branch, print, item() or numpy()",
            fix="move it outside the function, or use tn.where; plain calls without tn.compile "
            "allow it anywhere",
        )
