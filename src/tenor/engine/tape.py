"""Backward: walk what was recorded in reverse and record the derivative's operations.

A whole backward pass over one trace is remembered as one edge (a macro), so that the next step
costs one dictionary look-up.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import repeat
from operator import is_
from typing import TYPE_CHECKING, Any

from tenor.autograd.part import replaced
from tenor.engine.alias import is_leaf, version_of, write
from tenor.engine.gradients import Gradients, grad_of, touch_grad
from tenor.engine.trace import (
    FunctionCall,
    Trace,
    advance,
    handle_of,
    local,
    record,
    state_of,
)
from tenor.engine.trie import State, meta, path
from tenor.engine.walk import FREED, Segment, Walk, fixed, let_go, origin
from tenor.errors import ArgumentError, GradientError
from tenor.ir import op as ops
from tenor.ir.build import Builder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tenor.autograd.part import Part
    from tenor.engine.handle import Handle
    from tenor.ir.node import Node
    from tenor.ir.op import Op

__all__ = ["TraceBuilder", "accumulate", "backward", "gradients"]


class TraceBuilder(Builder):
    """Writes a rule's operations onto the current trace."""

    def emit(self, op: Op, inputs: tuple[Node, ...], attrs: tuple[Any, ...] = ()) -> Node:
        """Record one operation and return its state."""
        return advance(local.trace, op, inputs, attrs)  # type: ignore[arg-type]


def _overwritten(state: State) -> GradientError:
    return GradientError(
        f"backward: a value of shape {state.shape} that {state.op.name} needs was written in place "
        "after it was used.",
        came=f"the tensor made by {state.op.name}",
        fix="write to a copy (x = x + 1 instead of x += 1), or write after backward()",
        where=state.site,
    )


class RecordingWalk(Walk):
    """A walk whose rules record on the current trace.

    Its source is the trace being recorded, whose values are states there, or a segment, whose
    saved values come back as leaves. A hook that looks at a value ends the trace under the walk;
    the trace's segment then takes its place.
    """

    def __init__(self, source: Trace | Segment, end: State, sweep: Sweep) -> None:
        super().__init__(TraceBuilder(), path(end))
        self.source = source
        self.segment = source if isinstance(source, Segment) else None
        self.sweep = sweep
        self.wanted = sweep.wanted(source, end)
        self.read: set[State] = set()
        self.calls: dict[int, dict[int, Handle]] = defaultdict(dict)
        self.answered: list[FunctionCall] = []
        self.entered: dict[State, Handle] = {}

    # -- forward values -------------------------------------------------------------------------
    def value(self, node: State, state: State) -> Node:
        """Return a forward value on the current trace, unless it was written over or let go."""
        if self.segment is not None:
            return self._saved(self.segment, node, state)
        if fixed(state):
            return state
        trace = self.source
        assert isinstance(trace, Trace)
        self.read.add(node)
        self.sweep.values.add(state)
        if node.depth <= trace.overwritten.get(state, 0):
            raise _overwritten(state)
        if node in trace.freed:
            raise let_go()
        return state

    def _saved(self, segment: Segment, node: State, state: State) -> Node:
        """Return a saved value, or what is derived from one."""
        if node.depth <= segment.overwritten.get(state, 0):
            raise _overwritten(state)
        source = origin(state)
        moves = []
        at = state
        while at is not source:
            moves.append(at)
            at = at.inputs[0]
        value = self._kept(segment, node, source)
        for move in reversed(moves):
            value = advance(local.trace, move.op, (value,), move.attrs)
        return value

    def _kept(self, segment: Segment, node: State, state: State) -> State:
        if not fixed(state):
            if node in segment.spent:
                raise let_go()
            self.read.add(node)
        if node.depth <= segment.overwritten.get(state, 0):
            raise _overwritten(state)
        found = segment.variables.get(state)
        if found is not None:
            owner, version = found
            if owner.version != version:
                raise _overwritten(state)
            return state_of(owner)
        handle = self.entered.get(state)
        if handle is None:
            ref, seen = segment.watched.get(state, (None, 0))
            holder = ref() if ref is not None else None
            if holder is not None and version_of(holder) != seen:
                raise _overwritten(state)
            handle = self.entered[state] = local.make()
            handle.within = None
            handle.buffer = segment.saved[state]
            linked = state.requires_grad and self.sweep.create_graph
            handle.meta = meta(state.shape, state.dtype, linked)
            if linked:
                handle.segment, handle.origin = segment, state
        return state_of(handle)

    # -- cotangents -----------------------------------------------------------------------------
    def arrive(self, state: State, g: State) -> State | None:
        """Run the tensor's hooks, or hand a leaf its gradient, or carry it to an older segment."""
        if self.sweep.stops and self.stops(state, g):
            return None
        segment = self.segment
        if segment is not None:
            owner = segment.variables.get(state, (None,))[0]
            link: Any = segment.links.get(state)
            hooks = segment.hooks.get(state)
        else:
            owner = self.source.variables.get(state)  # type: ignore[assignment]
            link = None
            if owner is not None and owner.segment is not None:
                link = (owner.segment, owner.origin)
            hooks = self.source.hooks.get(state)
        if link:
            if self.sweep.leads(*link):
                self.sweep.carry(link[0], link[1], g)
        elif owner is not None:
            self.sweep.deliver(owner, g)
        elif hooks:
            for hook in tuple(hooks):
                g = self.sweep.passed(hook, g)
            self.cotangents[state] = g
        return g

    def stops(self, state: State, g: State) -> bool:
        """Tell whether a gradient is asked for here; another pass goes on from it."""
        owner = (self.segment or self.source).variables.get(state)
        handle = owner[0] if isinstance(owner, tuple) else owner
        if handle is not None and id(handle) in (self.sweep.inputs or ()):
            self.sweep.deliver(handle, g)
            return True
        return state in self.sweep.goals[self.source]

    def watched(self, state: State) -> bool:
        """Tell whether a tensor's hooks or a question for its gradient wait for a cotangent."""
        source = self.segment or self.source
        return state in source.hooks or state in self.sweep.goals.get(source, ())

    def spent(self) -> set[State]:
        """Return the states walked whose derivative read a value, or leads to one that did."""
        found = set(self.read)
        for state in self.states:
            reached = state in self.cotangents or state in self.parts
            if reached and not found.isdisjoint(state.inputs):
                found.add(state)
        return found

    def function(self, state: State) -> bool:
        """Collect the outputs' cotangents; at the first output ask for the inputs'."""
        call = (self.segment or self.source).functions.get(state)
        if call is None:
            return True
        g = self.whole(state)
        if g is not None:
            g = self.arrive(state, g)
        got = self.calls[id(call)]
        if g is not None:
            got[state.attrs[0]] = handle_of(g)
        first = next(s for s in call.outputs if s.op is ops.FUNCTION)
        if state is first and got and any(map(self.wants, state.inputs[1:])):
            given = [got.get(i) for i in range(len(call.outputs))]
            self.answered.append(call)
            answers = self.sweep.ask(
                call.backward, given, lambda i, value: self.output(call.outputs[i], value)
            )
            for source, answer in zip(state.inputs[1:], answers, strict=True):
                if answer is not None and self.wants(source):
                    self.add(source, state_of(answer))
        return True

    def output(self, state: State, value: Handle) -> Handle:
        """Return an output of a custom Function with its history."""
        if self.segment is None:
            return handle_of(state)
        linked: Handle = local.make()
        linked.within, linked.buffer = None, value.buffer
        linked.meta = meta(state.shape, state.dtype, state.requires_grad)
        linked.segment, linked.origin = self.segment, state
        return linked


def _entries(
    source: Trace | Segment,
) -> Iterable[tuple[State, Handle | None, tuple[Any, State] | None]]:
    """Yield a stretch's leaves that require a gradient, their tensors, where those came from."""
    if isinstance(source, Segment):
        yield from ((state, owner, None) for state, (owner, _) in source.variables.items())
        yield from ((state, None, link) for state, link in source.links.items())
        return
    for state, owner in source.variables.items():
        computed = owner.segment is not None
        yield state, owner, (owner.segment, owner.origin) if computed else None  # type: ignore[misc]


def _elsewhere(
    parts: dict[State, list[Part]], other: Callable[[Any], Any]
) -> dict[State, list[Part]]:
    """Return what waits to be written, on other values."""
    return {state: [replaced(part, other) for part in held] for state, held in parts.items()}


class Sweep:
    """One backward pass over the current trace and every segment it leads to.

    Attributes:
        pending: Cotangents that wait for their stretch to be walked.
        leaves: What arrived at each leaf.
        values: The forward values read from the current trace.
        walks: The walks made, by stretch.
        inputs: The tensors whose gradients are asked for, by id; None if it is every leaf's.
        goals: Where they were computed: states by stretch.
        stops: Whether to go no further than to them, and to leave their hooks to the pass that is
            to go on.
        lost: Whether a way that may lead to one ends where a backward pass let go.
    """

    def __init__(
        self,
        roots: Sequence[Handle],
        create_graph: bool,
        inputs: Sequence[Handle] | None = None,
        stops: bool = False,
    ) -> None:
        self.roots = roots
        self.stops = stops
        self.create_graph = create_graph
        self.inputs = None if inputs is None else {id(h) for h in inputs}
        self.goals: dict[Any, set[State]] = defaultdict(set)
        self.known: dict[Any, set[State]] = {}
        self.lost = False
        self.trace = local.trace
        self.pending: dict[Any, dict[State, list[State]]] = {}
        self.leaves: dict[int, tuple[Handle, State]] = {}
        self.values: set[State] = set()
        self.walks: dict[Any, RecordingWalk] = {}

    def seed(self, root: Handle, g: State) -> None:
        """Start from a tensor with a cotangent."""
        source, state = self.locate(root)
        if not (source is self.trace or self.leads(source, state)):
            return
        self.pending.setdefault(source, {}).setdefault(state, []).append(g)

    def locate(self, handle: Handle) -> tuple[Any, State]:
        """Return the stretch a tensor was recorded in, and its state there."""
        if handle.segment is None:
            return self.trace, state_of(handle)
        if handle.segment is FREED:
            raise let_go()
        assert handle.origin is not None
        return handle.segment, handle.origin

    def place(self, handle: Handle) -> tuple[Any, State]:
        """Return where the gradient of an input is found: no further than where it was let go."""
        if handle.segment is FREED:
            return self.trace, state_of(handle)
        return self.locate(handle)

    def wanted(self, source: Trace | Segment, end: State) -> set[State] | None:
        """Return the states of a stretch that a gradient asked for flows through; None for all."""
        if self.inputs is None:
            return None
        known = self.known.get(source)
        if known is None:
            goals = self.goals[source] | {
                state
                for state, owner, link in _entries(source)
                if id(owner) in self.inputs or (link is not None and self.leads(*link))
            }
            known = self.known[source] = set()
            for state in path(end):
                through = state.inputs[1:] if state.op is ops.FUNCTION else state.inputs
                if state in goals or (state.requires_grad and not known.isdisjoint(through)):
                    known.add(state)
        return known

    def leads(self, segment: Segment, origin: State) -> bool:
        """Tell whether a gradient asked for is found where a tensor came from."""
        if self.inputs is None:
            return True
        if segment is FREED:
            self.lost = True
            return False
        wanted = self.wanted(segment, segment.end)
        return wanted is None or origin in wanted

    def carry(self, segment: Segment, origin: State, g: State) -> None:
        """Carry a gradient on into the segment its tensor came from."""
        if segment is FREED:
            raise let_go()
        self.pending.setdefault(segment, {}).setdefault(origin, []).append(g)

    def deliver(self, owner: Handle, g: State) -> None:
        """Give a leaf its gradient."""
        before = self.leaves.get(id(owner))
        if before is not None:
            g = TraceBuilder().add(before[1], g)  # type: ignore[assignment]
        self.leaves[id(owner)] = (owner, g)

    def run(self, end: State) -> None:
        """Walk the newest stretch first, until nothing is left to walk."""
        try:
            self._walk_all(end)
            for key, (owner, g) in list(self.leaves.items()):
                for hook in () if self.stops else tuple(owner.hooks or ()):
                    g = self.passed(hook, self.leaves[key][1])
                    self.leaves[key] = (owner, g)
        finally:
            for walk in self.walks.values():
                del walk.sweep  # no cycle: handles only it holds would look alive until collected

    def _walk_all(self, end: State) -> None:
        while self.pending:
            source = max(self.pending, key=lambda s: s.serial)
            if source is not self.trace:
                local.repeatable = False  # its values are those of this once
            seeds = self.pending.pop(source)
            walk = RecordingWalk(source, end if source is self.trace else source.end, self)
            for state, parts in seeds.items():
                for part in parts:
                    walk.add(state, part)
            self.walks[source] = walk
            walk.run()

    def passed(self, hook: Callable[[Handle], Handle | None], g: State) -> State:
        """Return a gradient as a hook leaves it."""
        given = handle_of(g)
        changed = self.ask(hook, given)
        if changed is None:
            return state_of(given)
        now = state_of(changed)
        if (now.shape, now.dtype) != (g.shape, g.dtype):
            raise GradientError(
                "hook: a gradient must keep its shape and dtype.",
                came=[f"gradient {g.shape} {g.dtype.name}", f"hook gave {now.shape} "
                      f"{now.dtype.name}"],
                fix="return a tensor like the one the hook is given, or None",
            )  # fmt: skip
        return now

    def ask(self, function: Callable[..., Any], *given: Any) -> Any:
        """Call the user's code, which may look at values and so end the trace."""
        trace = local.trace
        kept = [{s: handle_of(g) for s, g in w.cotangents.items()} for w in self.walks.values()]
        parts = [_elsewhere(walk.parts, handle_of) for walk in self.walks.values()]
        waiting = [
            (seeds, [handle_of(g) for g in seeds])
            for pending in self.pending.values()
            for seeds in pending.values()
        ]
        arrived = {key: (owner, handle_of(g)) for key, (owner, g) in self.leaves.items()}
        answer = function(*given)
        if local.trace is not trace:
            self._move(trace)
            for walk, handles, held in zip(self.walks.values(), kept, parts, strict=True):
                walk.cotangents = {s: state_of(h) for s, h in handles.items()}
                walk.parts = _elsewhere(held, state_of)
            for seeds, stood in waiting:
                seeds[:] = [state_of(h) for h in stood]
            self.leaves = {key: (owner, state_of(h)) for key, (owner, h) in arrived.items()}
        return answer

    def _move(self, before: Trace) -> None:
        """Go on in a new trace; the old one lives on as the segment of the roots it held."""
        self.trace = local.trace
        segment = next(
            (r.segment for r in self.roots if r.segment and r.segment.serial == before.serial), None
        )
        walk = self.walks.get(before)
        if walk is not None and segment is not None:
            walk.segment = segment
            self.walks = {segment if k is before else k: w for k, w in self.walks.items()}

    def free(self) -> None:
        """Let go what the pass has read."""
        for source, walk in self.walks.items():
            for call in walk.answered:
                call.release()
            if isinstance(source, Trace):
                source.freed = source.freed | walk.spent()
            else:
                source.spend(walk.spent())


@dataclass(eq=False)
class Macro:
    """A backward pass known as one edge: where it ends and which leaves got which gradients."""

    end: State
    leaves: tuple[State, ...]
    states: tuple[State, ...]
    freed: frozenset[State]
    values: frozenset[State]


def backward(root: Handle, grad: Handle | None, retain_graph: bool, create_graph: bool) -> None:
    """Add the gradient of a tensor to `.grad` of every leaf it depends on."""
    trace = local.trace
    known = None
    if root.within is trace and not (create_graph or trace.hooks or trace.functions):
        given = None if grad is None else state_of(grad)
        if local.trace is trace:  # entering it may have derived a view again
            known = "backward", root.state, given
            macro = trace.state.macros.get(known)
            if macro is not None and _replay(trace, macro, retain_graph):
                return
    start = trace.state
    sweep = _sweep([root], [grad], create_graph)
    simple = start is not trace.state and len(sweep.walks) == 1 and trace in sweep.walks
    simple = simple and not any(o.hooks or o.after for o, _ in sweep.leaves.values())
    if not retain_graph:
        sweep.free()
    arrived = [(owner, _answer(g, create_graph)) for owner, g in sweep.leaves.values()]
    if simple and known is not None and not (trace.hooks or trace.functions):
        _remember(trace, start, known, sweep, arrived)
    for owner, fresh in arrived:
        accumulate(owner, fresh, create_graph)


def _remember(
    trace: Trace, start: State, known: tuple[str, State, State | None], sweep: Sweep,
    arrived: list[tuple[Handle, Handle]],
) -> None:  # fmt: skip
    by_owner = {id(owner): state for state, owner in trace.variables.items()}
    if sweep.roots[0].within is not trace or trace.state.leaves != start.leaves:
        return
    walk = sweep.walks[trace]
    start.macros[known] = Macro(
        trace.state,
        tuple([by_owner[id(owner)] for owner, _ in arrived]),
        tuple([fresh.state for _, fresh in arrived]),
        frozenset(walk.spent()),
        frozenset(sweep.values),
    )


def _replay(trace: Trace, macro: Macro, retain_graph: bool) -> bool:
    """Take a macro's edge; False where this trace needs the long way (and its errors)."""
    try:
        owners = list(map(trace.variables.__getitem__, macro.leaves))
    except KeyError:
        return False
    for o in owners:
        if o.segment is not None or o.hooks or o.after:
            return False
    if not trace.overwritten.keys().isdisjoint(macro.values):
        return False
    if trace.freed and not trace.freed.isdisjoint(macro.freed):
        return False
    trace.state = macro.end
    if not retain_graph:
        trace.freed = trace.freed | macro.freed if trace.freed else macro.freed
    if local.pinning is None and all(map(is_, [o._grad for o in owners], repeat(None))):
        found = Gradients(trace, macro, owners)
        trace.gradients.append(found)
        for owner in owners:
            owner._grad = found
        return True
    for owner, fresh in zip(owners, [handle_of(g) for g in macro.states], strict=True):
        accumulate(owner, fresh, create_graph=False)
    return True


def _sweep(
    roots: Sequence[Handle],
    grads: Sequence[Handle | None],
    create_graph: bool,
    inputs: Sequence[Handle] | None = None,
    stops: bool = False,
) -> Sweep:
    for root in roots:
        if not root.needs_grad:
            raise GradientError(
                "backward: the tensor does not depend on anything that requires a gradient.",
                came=f"a tensor of shape {root.shape_tuple} with requires_grad=False",
                fix="set requires_grad=True on an input, and do not compute under tn.no_grad()",
            )
    sweep = Sweep(roots, create_graph, inputs, stops)
    trace = sweep.trace
    for root in roots:
        sweep.locate(root)
    for handle in inputs or ():
        source, state = sweep.place(handle)
        sweep.goals[source].add(state)
    end = trace.state
    mode = trace.grad
    builder = TraceBuilder()
    trace.grad = create_graph
    try:
        for root, grad in zip(roots, grads, strict=True):
            if grad is None:
                seed: Any = builder.full(root.shape_tuple, 1, root.element_type)
            else:
                seed = state_of(grad)
            sweep.seed(root, seed)
        sweep.run(end)
    finally:
        local.trace.grad = mode
    return sweep


def accumulate(owner: Handle, fresh: Handle, create_graph: bool) -> None:
    """Add a gradient to a leaf's `.grad`, and call the functions that wait for it."""
    touch_grad(owner, read=True)
    before = grad_of(owner)
    if before is None:
        owner._grad = fresh
    elif create_graph:
        owner._grad = record(ops.ADD, (before, fresh))
    else:
        trace = local.trace
        mode, trace.grad = trace.grad, False
        try:
            write(before, record(ops.ADD, (before, fresh)))
        finally:
            local.trace.grad = mode
    for hook in tuple(owner.after or ()):
        mode, local.trace.grad = local.trace.grad, create_graph
        try:
            answer = hook(owner)
        finally:
            local.trace.grad = mode
        if answer is not None:
            raise ArgumentError(
                "register_post_accumulate_grad_hook: the hook must return nothing.",
                came=type(answer).__name__,
                fix="write into the tensor's .grad, or use register_hook to replace a gradient",
            )


def _answer(g: State, create_graph: bool) -> Handle:
    """Return a handle on a gradient; one that is somebody's leaf stays linked to that leaf."""
    trace = local.trace
    if g.requires_grad and g.op in (ops.LEAF, ops.VARIABLE):
        mode, trace.grad = trace.grad, create_graph
        g = advance(trace, ops.RESHAPE, (g,), (g.shape,))
        trace.grad = mode
    return handle_of(g)


def gradients(
    outputs: Sequence[Handle],
    inputs: Sequence[Handle],
    grads: Sequence[Handle | None],
    retain_graph: bool,
    create_graph: bool,
    stops: bool = False,
) -> list[Handle | None]:
    """Return the gradients of outputs with respect to inputs; None where there is no path.

    Args:
        outputs, grads: What is differentiated, and the gradient of each; None means 1.
        inputs: Tensors, leaves or not.
        retain_graph, create_graph: As in `backward`.
        stops: Whether a way to one input that leads through another does not count.
    """
    for handle in inputs:
        if is_leaf(handle):
            state_of(handle)
    sweep = _sweep(outputs, grads, create_graph, inputs, stops)
    found: list[Handle | None] = []
    for handle in inputs:
        entry = sweep.leaves.get(id(handle))
        if entry is not None:
            found.append(_answer(entry[1], create_graph))
            continue
        source, state = sweep.place(handle)
        walk = sweep.walks.get(source)
        g = walk.cotangents.get(state) if walk is not None else None
        found.append(None if g is None else _answer(g, create_graph))
    if sweep.lost and any(g is None for g in found):
        raise let_go()
    if not retain_graph:
        sweep.free()
    return found
