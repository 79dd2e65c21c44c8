"""Flush: find what is still alive, look its plan up, run it.

What a trace must store is what somebody still holds. The live set and the trace's position are
the key of a compiled plan; a plan that stores more than is needed serves as well.
"""

from __future__ import annotations

import contextlib
import struct
from copy import copy
from dataclasses import dataclass, field
from time import sleep
from typing import TYPE_CHECKING, Any, Final, NoReturn
from weakref import ref

import numpy as np

from tenor.engine import recorder, trie
from tenor.engine.alias import version_of
from tenor.engine.backend import Runner, interpret, load
from tenor.engine.liveness import IN_A_LIST, IN_A_NAME, getrefcount
from tenor.engine.trace import Trace, await_write, install, local, reset_trie
from tenor.engine.trie import Meta, State, counts, meta, path
from tenor.engine.walk import FREED, Segment, needed_values
from tenor.errors import (
    ArgumentError,
    CompileError,
    IndexRangeError,
    LabelError,
    OutOfMemoryError,
    TenorError,
)
from tenor.ir import op as ops
from tenor.ir.node import Graph, Node, size
from tenor.runtime.executable import Interrupted
from tenor.runtime.launching import launcher_of

if TYPE_CHECKING:
    from tenor.engine.handle import Handle
    from tenor.runtime.launching import Launcher

__all__ = [
    "Binding", "Plan", "abandon", "bind", "collect", "counts", "evaluate", "finish", "flush",
    "graph_of", "needing", "overflow", "ready_of", "restore", "retire", "settle", "store",
]  # fmt: skip

SAME: Final = frozenset((ops.DETACH, ops.VARIABLE, ops.FUNCTION, ops.BARRIER, ops.RESHAPE))
"""Operations whose result is the bytes of their first input."""


def root_of(state: State) -> State:
    """Return the state whose bytes a state shares."""
    while state.op in SAME:
        state = state.inputs[0]
    return state


@dataclass
class Plan:
    """A compiled trace.

    Attributes:
        runner: Runs it.
        where: For each stored state its place: ("output", number) or ("leaf", number).
        donated: Numbers of the leaves whose buffers are written over.
        states: The nodes of its graph, by status code.
        graph: What was compiled; `explain` shows it.
        launcher: Runs it for the builtins.
    """

    runner: Runner
    where: dict[State, tuple[str, int]]
    donated: tuple[int, ...]
    states: list[State]
    graph: Graph
    launcher: Launcher | None = None

    def error(self, code: int, value: int, leaves: list[Any], scalars: list[Any]) -> TenorError:
        """Return the error for an index out of range, at the line that used it."""
        state = self.states[code - 1]
        extent, what = state.attrs
        error, rule, fix = FAILURES[what]
        lowest = -extent if what == "index" else 0
        found = _first_outside(self.graph, state, lowest, leaves, scalars)
        place = "" if found is None else f" at position {found[1]}"
        named = "index" if what == "place" else what
        return error(
            rule.format(lowest=lowest, extent=extent),
            came=f"{named} {value if found is None else found[0]}{place}",
            fix=fix.format(extent=extent),
            where=None if local.immediate else state.site,  # None: the line that runs
        )


FAILURES: Final[dict[str, tuple[type[TenorError], str, str]]] = {
    "index": (
        IndexRangeError,
        "index: an index must lie in [{lowest}, {extent}).",
        "check the indices against the extent they index",
    ),
    "place": (
        IndexRangeError,
        "index: an index along a dim must lie in [0, {extent}).",
        "check the indices; here they do not count from the end",
    ),
    "row": (
        IndexRangeError,
        "embedding: an index must lie in [0, {extent}), the rows of the table.",
        "check the indices, or make the table larger (num_embeddings)",
    ),
    "label": (
        LabelError,
        "loss: a class label must lie in [0, {extent}), as there are {extent} classes.",
        "check the labels, or give the model as many outputs as there are classes",
    ),
}
"""What is said of an index out of range, by what it was."""


def _first_outside(
    graph: Graph, state: State, lowest: int, leaves: list[Any], scalars: list[Any]
) -> tuple[int, tuple[int, ...]] | None:
    """Return the first index out of range and its position, by interpreting what it depends on.

    None where a leaf it depends on was written over by the run.
    """
    wanted: set[Node] = {state.inputs[0]}
    nodes: list[Node] = []
    for node in reversed(graph.nodes):
        if node in wanted or node.op in (ops.LEAF, ops.SCALAR):
            wanted.update(node.inputs)
            nodes.append(node)
    index = interpret(Graph(nodes[::-1], [state.inputs[0]]), leaves, scalars)[0]
    outside = np.argwhere((index < lowest) | (index >= state.attrs[0]))
    if not len(outside):
        return None
    at = tuple(int(i) for i in outside[0])
    return int(index[at]), at


@dataclass
class Binding:
    """A plan as one live set uses it.

    Attributes:
        plan: The plan.
        places: For each live handle the place of its value.
        metas: What each will be.
        linked: Whether a gradient flows back through each.
        needing: Whether a backward pass may still start from one of them.
        saved: The values that pass will read, and their places.
        readers: The states whose derivative reads each of them.
    """

    plan: Plan
    places: list[tuple[str, int]]
    metas: list[Meta]
    linked: list[bool]
    needing: bool = False
    saved: list[tuple[State, tuple[str, int]]] = field(default_factory=list)
    readers: dict[State, set[State]] = field(default_factory=dict)


def graph_of(
    end: State, outputs: list[State], updates: list[tuple[State, State]] | None = None
) -> Graph:
    """Return the part of a path that the outputs depend on, all parameters kept."""
    wanted = set(outputs)
    nodes: list[State] = []
    for state in reversed(path(end)):
        if state in wanted or state.op in (ops.LEAF, ops.SCALAR):
            wanted.update(state.inputs)
            nodes.append(state)
    nodes.reverse()
    positions = {state: i for i, state in enumerate(outputs)}
    pairs = [(leaf, positions[new]) for leaf, new in updates or () if new in positions]
    return Graph(nodes, outputs, pairs)


def collect(trace: Trace, live: list[Handle]) -> None:
    """Empty the trace's list of handles, adding to `live` those somebody else holds.

    Last to first: a view is made after its base and holds it; when the view is dead it lets the
    base go before the base is looked at. An interrupt anywhere loses no handle.
    """
    outs, rebound = trace.outs, trace.rebound
    trace.views.clear()
    while outs:
        handle = outs[-1]
        held = getrefcount(handle) > IN_A_NAME + 1  # the list's
        if held and handle.within is trace and id(handle) not in rebound:
            live.append(handle)
        del outs[-1]
    live.extend(rebound.values())


def flush() -> None:
    """Run what the current thread has recorded and store what is alive.

    Inside a function being compiled nothing is run until the function returns.
    """
    if local.pinning is not None or recorder.run() is True:
        return
    trace = local.trace
    if trace.gradients or trace.deferred:
        local.together(trace)
        return
    if not (trace.outs or trace.rebound):
        if trace.leaves:
            retire(trace)
        return
    end, plain = trace.state, not (trace.rebound or trace.donors)
    live, binding = bind(trace)
    ready = _ready(live, binding) if plain else None
    finish(trace, live, binding)
    if ready is not None:
        end.plans["ready"] = True
        end.plans[tuple([h.state for h in live])] = ready


def _ready(live: list[Handle], binding: Binding) -> recorder.Ready | None:
    """Return a plan as the builtin runs it, where it can."""
    if (
        recorder.run is recorder.PYTHON.run
        or not live
        or any(h.state.requires_grad or h.buffer is not None for h in live)
    ):
        return None
    return ready_of(binding)


def ready_of(binding: Binding) -> recorder.Ready | None:
    """Return a plan as the builtin runs it; None where it is run in another way."""
    plan = binding.plan
    launcher = plan.launcher = plan.launcher or launcher_of(plan.runner.run)
    if launcher is None:
        return None
    outputs = len(launcher.sizes)
    places = [at if space == "output" else outputs + at for space, at in binding.places]
    table = struct.pack(f"={len(places)}q", *places)
    return recorder.Ready(launcher, table, tuple(binding.metas))


def bind(trace: Trace) -> tuple[list[Handle], Binding]:
    """Return what is alive in a trace and the plan that stores it."""
    counts["flushes"] += 1
    trace.sealed = True
    live: list[Handle] = []
    try:
        collect(trace, live)
        return live, _bind(trace, live, needing(trace, live))
    except Exception as error:
        _lose(trace, live, error)
    except BaseException:
        restore(trace, live)
        raise


def _lose(trace: Trace, live: list[Handle], error: Exception) -> NoReturn:
    """Leave a trace that cannot be compiled, so that it does not spoil the next."""
    failure: TenorError = CompileError(
        "compile: what was recorded should have compiled; the mistake is Tenor's.",
        came=f"{type(error).__name__}: {error}".splitlines()[0],
        fix="please report it; TENOR_BACKEND=reference computes it meanwhile",
    )
    if isinstance(error, ArgumentError):
        failure = error  # a switch that is set wrong
    for handle in live:
        handle.within = None
        if handle.buffer is None:
            handle.buffer = Lost(copy(failure))
            handle.meta = meta(handle.state.shape, handle.state.dtype)
    retire(trace)
    try:
        raise failure from error
    finally:
        del failure, error  # no cycle with this frame, which holds every value of the trace


def finish(trace: Trace, live: list[Handle], binding: Binding) -> None:
    """Run a trace's plan and begin the next trace."""
    try:
        _execute(trace, live, binding)
    except BaseException:
        if not trace.done:
            restore(trace, live)
        raise
    retire(trace)


def needing(trace: Trace, live: list[Handle]) -> list[State]:
    """Return the states from which a backward pass may still start."""
    return [
        h.state
        for h in live
        if h.state.requires_grad
        and h.state.op is not ops.VARIABLE
        and h.state.op is not ops.LEAF
        and h.state not in trace.freed
    ]


def restore(trace: Trace, live: list[Handle]) -> None:
    """Undo what was done to run a trace, which was not."""
    trace.sealed = False
    trace.outs.extend(reversed([h for h in live if id(h) not in trace.rebound]))
    for handle in (*trace.owners, *trace.outs, *trace.rebound.values()):
        if handle.base is not None and handle.within is trace:
            trace.views[id(handle.base)].append(handle)


def retire(trace: Trace) -> None:
    """End a trace that was run, and begin the thread's next."""
    trace.done = True
    if local.trace is trace:  # one that is replayed is none of a thread's
        local.trace = Trace(trace.grad, trace.mode)
    if trie.full():
        reset_trie()
    trace.leaves = []
    trace.owners = []
    trace.variables = {}
    trace.functions = {}
    trace.hooks = {}
    trace.rebound = {}
    trace.donors = {}
    trace.gradients = []
    trace.deferred = []


def _bind(trace: Trace, live: list[Handle], needing: list[State]) -> Binding:
    # Who may be written over is part of the key: `q = p + 1` and `p += 1` record one path.
    key = (tuple([h.state for h in live]), tuple(needing), tuple(trace.donors.values()))
    plans = trace.state.plans
    binding = plans.get(key)
    if binding is None:
        binding = plans[key] = _make_binding(trace, live, needing)
    return binding


def _make_binding(trace: Trace, live: list[Handle], needing: list[State]) -> Binding:
    end = trace.state
    readers = needed_values(end, needing) if needing else {}
    saved = sorted(readers, key=lambda s: s.depth)
    roots = [root_of(h.state) for h in live]
    stored = {s for s in [*roots, *map(root_of, saved)] if s.op is not ops.LEAF}
    plan = None if trace.donors else _superset(end, stored)
    if plan is None:
        kept = {r for r in [*roots, *map(root_of, saved)] if r.op is ops.LEAF}
        donors = trace.donors
        given = {(donors[id(h)], root_of(h.state)) for h in live if id(h) in donors}
        # The same values may be held in another order: the plan does not depend on it.
        what = ("plan", frozenset(stored), frozenset(kept), frozenset(given))
        plan = end.plans.get(what)
        if plan is None:
            plan = end.plans[what] = _build(trace, live, stored, kept)
    places = [plan.where[r] for r in roots]
    states = [h.state for h in live]
    metas = [meta(s.shape, s.dtype, s.requires_grad) for s in states]
    linked = [s.requires_grad and s.op not in (ops.VARIABLE, ops.LEAF) for s in states]
    kept_values = [(s, plan.where[root_of(s)]) for s in saved]
    return Binding(plan, places, metas, linked, bool(needing), kept_values, readers)


def _superset(end: State, stored: set[State]) -> Plan | None:
    """Return a plan made for this position that stores all this and no more than twice it."""
    for binding in list(end.plans.values()):  # other threads may add to them
        plan = getattr(binding, "plan", None)
        if plan is None or plan.donated:
            continue
        where = plan.where
        if all(s in where for s in stored) and len(where) <= 2 * len(stored) + end.leaves + 4:
            return plan  # type: ignore[no-any-return]
    return None


def _build(trace: Trace, live: list[Handle], stored: set[State], kept: set[State]) -> Plan:
    counts["plans"] += 1
    trie.made["plans"] += 1
    outputs = sorted(stored, key=lambda s: s.depth)
    updates = []
    after = _after_checks(trace.state) if trace.donors else set()
    for handle in live:
        leaf = trace.donors.get(id(handle))
        new = root_of(handle.state)
        fits = leaf is not None and leaf not in kept and new in stored and new.dtype is leaf.dtype
        # A bad index must be found before anything is written over.
        if leaf is not None and fits and new in after:
            updates.append((leaf, new))
    graph = graph_of(trace.state, outputs, updates)
    runner = load(graph)
    where: dict[State, tuple[str, int]] = {s: ("output", i) for i, s in enumerate(outputs)}
    leaves = [s for s in graph.nodes if s.op is ops.LEAF]
    for i, node in enumerate(leaves):
        where[node] = ("leaf", i)  # type: ignore[index]
    return Plan(runner, where, runner.donated, list(graph.nodes), graph)  # type: ignore[arg-type]


def _after_checks(end: State) -> set[State]:
    """Return the states of a path that the values of all its checked indices flow into."""
    states = path(end)
    bits = {s: 1 << i for i, s in enumerate(s for s in states if s.op is ops.WRAP_INDEX)}
    met: dict[State, int] = {}
    for state in states:
        mask = bits.get(state, 0)
        for source in state.inputs:
            mask |= met[source]
        met[state] = mask
    every = (1 << len(bits)) - 1
    return {s for s, mask in met.items() if mask == every}


def _execute(trace: Trace, live: list[Handle], binding: Binding) -> None:
    if not live:
        return
    plan = binding.plan
    leaves, scalars = trace.leaves, trace.scalars
    for i in plan.donated:
        # Anybody but the tensor and this list would see it change.
        if getrefcount(leaves[i]) > IN_A_LIST + 1:
            leaves[i] = leaves[i].snapshot()
    interrupt = None
    try:
        outputs, code, value = plan.runner.run(leaves, scalars)
    except Interrupted as late:
        (outputs, code, value), interrupt = late.results, late.__cause__
    except MemoryError as error:
        overflow(trace, live, error)
    if code:
        abandon(trace, live, plan, code, value)
    try:
        store(trace, live, binding, outputs)
    except BaseException as late:  # what was run must not be run again: it may have written leaves
        store(trace, live, binding, outputs)
        interrupt = late
    if interrupt is not None:
        retire(trace)
        raise interrupt


def store(trace: Trace, live: list[Handle], binding: Binding, outputs: list[Any]) -> None:
    """Give every live handle its value."""
    leaves = trace.leaves
    segment = _segment(trace, live, binding, leaves, outputs) if binding.needing else None
    for handle, (space, at), what, linked in zip(
        live, binding.places, binding.metas, binding.linked, strict=True
    ):
        buffer = outputs[at] if space == "output" else leaves[at]
        old = handle.buffer
        if old is not None and old.shared and old.nbytes == buffer.nbytes:
            old.assign(buffer)
            buffer = old
        handle.buffer = buffer
        handle.meta = what
        handle.within = None
        if linked:
            state = handle.state
            handle.segment = FREED if state in trace.freed else segment
            handle.origin = state


def _segment(
    trace: Trace, live: list[Handle], binding: Binding, leaves: list[Any], outputs: list[Any]
) -> Segment:
    saved = {
        state: outputs[at] if space == "output" else leaves[at]
        for state, (space, at) in binding.saved
    }
    entered = trace.variables.items()
    variables = {s: (h, h.version) for s, h in entered if h.segment is None}
    links: Any = {s: (h.segment, h.origin) for s, h in entered if h.segment is not None}
    holders = {h.state: h for h in live}
    entries = [s for s in saved if s.op is ops.LEAF and s not in trace.overwritten]
    holders.update({s: trace.owners[s.leaves - 1] for s in entries})
    watched = {s: (ref(h), version_of(h)) for s, h in holders.items() if s in saved}
    return Segment(
        trace.serial, trace.state, saved, binding.readers, variables, links, trace.functions,
        trace.hooks, trace.overwritten, trace.freed, watched,
    )  # fmt: skip


class Lost:
    """Stands where a value would be that could not be computed; every use raises why."""

    def __init__(self, error: TenorError) -> None:
        self.error = error

    def __getattr__(self, name: str) -> NoReturn:
        raise copy(self.error)  # one raised holds its frames, and they the value


def abandon(trace: Trace, live: list[Handle], plan: Plan, code: int, value: int) -> NoReturn:
    """Leave a trace whose data was bad, and raise.

    What does not depend on the bad index is computed; what does raises again when it is used;
    what was written in place from it keeps the value it had.
    """
    error = plan.error(code, value, trace.leaves, trace.scalars)
    failed = plan.states[code - 1]
    bad = _dependents(trace.state, failed)
    # Had it failed at its line, later writes would not have been reached.
    unreached = [
        h for h in trace.rebound.values() if h.buffer is not None and h.state.depth > failed.depth
    ]
    bad.update(h.state for h in unreached)
    while True:
        good = [h for h in live if root_of(h.state) not in bad and h.state not in bad]
        roots = sorted({root_of(h.state) for h in good}, key=lambda s: s.depth)
        graph = graph_of(trace.state, [r for r in roots if r.op is not ops.LEAF])
        outputs, code, _ = load(graph).run(trace.leaves, trace.scalars)
        if not code:
            break
        bad |= _dependents(trace.state, graph.nodes[code - 1])  # type: ignore[arg-type]
    _leave(trace, live, bad, dict(zip(graph.outputs, outputs, strict=True)), error)


def overflow(trace: Trace, live: list[Handle], cause: MemoryError) -> NoReturn:
    """Leave a trace whose values do not fit in memory, and raise; those that do are computed."""
    roots = sorted({root_of(h.state) for h in live}, key=lambda s: s.depth)
    found: dict[Any, Any] = {}
    for root in roots:
        if root.op is not ops.LEAF:
            with contextlib.suppress(MemoryError):
                outputs, code, _ = load(graph_of(trace.state, [root])).run(
                    trace.leaves, trace.scalars
                )
                found |= {} if code else {root: outputs[0]}
    bad = {r for r in roots if r not in found and r.op is not ops.LEAF}
    bad.update(h.state for h in live if root_of(h.state) in bad)
    largest = max(bad or roots, key=lambda s: size(s.shape) * s.dtype.itemsize)
    error = OutOfMemoryError(
        "memory: what is computed and kept must fit in memory.",
        came=[str(cause), f"for a tensor {largest.shape} {largest.dtype.name}"],
        fix="work on a part at a time, or let go of tensors that are not needed with del",
        where=largest.site,
    )
    _leave(trace, live, bad, found, error)


def _leave(
    trace: Trace, live: list[Handle], bad: set[State], found: dict[Any, Any], error: TenorError
) -> NoReturn:
    """Give live handles what was found, the error to the others, and raise it."""
    for handle in live:
        state = handle.state
        root = root_of(state)
        handle.within = None
        if state not in bad and (root in found or root.op is ops.LEAF):
            handle.buffer = found[root] if root in found else trace.leaves[root.leaves - 1]
            handle.meta = meta(state.shape, state.dtype, state.requires_grad)
        elif handle.buffer is None:
            handle.buffer = Lost(copy(error))
            handle.meta = meta(state.shape, state.dtype)
        if state.requires_grad and state.op not in (ops.VARIABLE, ops.LEAF):
            handle.segment, handle.origin = FREED, state
    retire(trace)
    try:
        raise error
    finally:
        del error  # no cycle with this frame, which holds every value of the trace


def _dependents(end: State, start: State) -> set[State]:
    """Return a state and every later one that its value flows into."""
    found = {start}
    for state in path(end)[start.depth - 1 :]:
        if not found.isdisjoint(state.inputs):
            found.add(state)
    return found


def evaluate(handle: Handle) -> tuple[Any, State]:
    """Compute a pending handle of another thread's trace without touching that trace.

    Returns:
        The buffer, and the state whose value it holds.
    """
    while True:
        trace, state = handle.within, handle.state
        if trace is None or trace.done:
            return handle.buffer, state  # the other thread was faster
        # Holding the leaves keeps them from being written over, unless that had begun before.
        leaves, scalars = trace.leaves[: state.leaves], trace.scalars[: state.scalars]
        if not trace.sealed:
            break
        sleep(0.0001)
    root = root_of(state)
    if root.op is ops.LEAF:
        return leaves[root.leaves - 1], state
    key = ("alone", root)
    plan = state.plans.get(key)
    if plan is None:
        trie.made["plans"] += 1
        graph = graph_of(state, [root])
        plan = state.plans[key] = Plan(load(graph), {}, (), list(graph.nodes), graph)  # type: ignore[arg-type]
    outputs, code, value = plan.runner.run(leaves, scalars)
    if code:
        raise plan.error(code, value, leaves, scalars)
    return outputs[0], state


def settle(handle: Handle) -> Any:
    """Return a handle's buffer, computed first where it is pending in any thread."""
    trace = handle.within
    if trace is not None and not trace.done:
        if trace is local.trace:
            trace = None  # held by nobody else, it is used again
            flush()
        elif handle.state.op is not ops.LEAF or handle.buffer is None:
            return evaluate(handle)[0]
        else:
            await_write(handle)
    return handle.buffer


install(flush=flush, evaluate=evaluate, restore=restore, retire=retire)
