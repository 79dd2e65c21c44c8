"""`tn.compile`: run a function once under the recorder, then replay its plan in one call.

What a replay repeats: the returned tensors, in-place writes to captured tensors (parameters,
optimiser state, running statistics) and `.grad` of captured tensors. What it guards: the metas of
tensor arguments, the values of plain arguments and the identity of others, the grad mode, the
Python values the function can find (see `surroundings`), what it wrote sharing no memory with what
it did not, and what modules and optimizers ask to be guarded. A call that cannot be repeated so is
recorded like any other code: one that finds what cannot be looked into, or returns what is neither
a tensor, a plain value nor a tuple, namedtuple, list or dict of them. Other Python side effects,
such as printing, happen when the function is recorded.
"""

from __future__ import annotations

import functools
import itertools
import operator
import struct
from dataclasses import dataclass, field
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, ParamSpec, TypeVar

import numpy as np

from tenor.engine import recorder
from tenor.engine.call import Entry, exact
from tenor.engine.flush import Binding, bind, finish, flush, ready_of
from tenor.engine.gradients import grad_of
from tenor.engine.handle import Handle
from tenor.engine.recorder import Quick
from tenor.engine.surroundings import PLAIN, Surroundings
from tenor.engine.trace import Trace, local, refresh
from tenor.ir import op as ops

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.engine.trie import Meta, State

__all__ = ["Compiled", "guard", "once", "pinned"]

P = ParamSpec("P")
R = TypeVar("R")

QUICK: Final = 4
"""Signatures of a function that are tried first, the newest first."""
HOPELESS: Final = 16
"""So many calls in a row that could not be repeated, and a function is simply called."""
ALIKE: Final = (type, FunctionType, BuiltinFunctionType, MethodType)
"""Arguments that are equal only where they are the same."""


def guard(owner: object, name: str) -> None:
    """Make the function being compiled depend on an attribute: when it changes, record again."""
    if local.pinning is not None:
        local.guards.append((owner, name, getattr(owner, name)))


def once() -> None:
    """Say that the function being compiled does what running its plan again does not."""
    local.repeatable = False


def pinned() -> bool:
    """Tell whether a function is being compiled at this moment."""
    return local.pinning is not None


class GradOf(NamedTuple):
    """What stands in a tensor's `.grad` at each call: of an argument, or of a captured tensor."""

    owner: int | Handle


Source = int | Handle | GradOf
"""Where a tensor is found at a call: the number of an argument, a captured tensor, a gradient."""


class Made(NamedTuple):
    """A tensor that each call makes anew.

    Attributes:
        base: The number of the live tensor it is a view of; None where it is none.
        chain: How it is derived from its base.
    """

    base: int | None
    chain: Any


class At(NamedTuple):
    """One of the live tensors, returned or put into a `.grad`."""

    number: int


class Same(NamedTuple):
    """A tensor returned as it came."""

    source: Source


class Unrepeatable(Exception):  # noqa: N818 - word between two functions, never an error
    """What a call did, or was given, cannot be repeated by running its plan."""


@dataclass
class Pin:
    """A recorded call.

    Attributes:
        binding: Its plan.
        end, grad, scalars, providers, overwritten, freed: As in its `Trace`.
        sources: Where each leaf comes from.
        kinds: What the leaves were, as guards.
        surroundings: The Python values it could find.
        guards: (owner, attribute, value) that must still hold.
        fixed: Arguments that it could also find elsewhere: they must be the same tensors.
        live: What is alive at the end, and the states of it: made anew, or written in place.
        variables: (state, whether it is live, number among the live or the leaves) of each tensor
            that a gradient arrives at.
        returned: The returned structure, with an At or Same for each tensor.
        gradients: Tensors whose `.grad` was set; None clears it.
        entries: Tensors whose `.grad` was read, what it has to be, and the hooks it went through.
        looked: Whether it was looked at for what the builtin can do.
    """

    binding: Binding
    end: State
    grad: bool
    scalars: list[Any]
    providers: list[tuple[int, Callable[[], Any]]]
    overwritten: dict[State, int]
    freed: set[State]
    sources: list[Source]
    kinds: list[Any]
    surroundings: Surroundings
    guards: list[tuple[object, str, Any]]
    fixed: list[tuple[int, Handle]]
    live: list[tuple[Made | Source, State]]
    variables: list[tuple[State, bool, int]]
    returned: Any = None
    gradients: list[tuple[int | Handle, At | None]] = field(default_factory=list)
    entries: list[tuple[int | Handle, Any, tuple[Any, ...]]] = field(default_factory=list)
    looked: bool = False

    def __post_init__(self) -> None:
        self.written = [s for s, _ in self.live if not isinstance(s, Made)]
        found = [*self.sources, *self.written, *self.surroundings.tensors]
        self.storages = {_storage(h) for h in found if isinstance(h, Handle)}
        self.storages -= {_storage(h) for _, h in self.fixed}

    def holds(self, tensors: list[Handle]) -> bool:
        """Tell whether everything the record depended on is as it was."""
        for source, wanted in zip(self.sources, self.kinds, strict=True):
            if isinstance(source, int):
                continue  # the signature says what arguments are
            held = _found(source, tensors)
            if held is None or _kind(held) != wanted:
                return False
        for of, wanted, hooks in self.entries:
            owner = _tensor(of, tensors)
            grad = grad_of(owner)
            if (None if grad is None else _kind(grad)) != wanted:
                return False
            if tuple(owner.hooks or ()) != hooks:
                return False
        return (
            all(tensors[i] is handle for i, handle in self.fixed)
            and self.apart(tensors)
            and all(getattr(owner, name) == value for owner, name, value in self.guards)
            and self.surroundings.same(recorder.changed)
        )

    def quick(self, args: tuple[Any, ...], tensors: list[Handle]) -> Quick | None:
        """Return the call as the builtin runs it; None where it does more than that can.

        Args:
            args: What it was given.
            tensors: The tensors among it.
        """
        around, binding, returned = self.surroundings, self.binding, self.returned
        results = (returned,) if type(returned) is At else returned
        plain = (
            len(args) == len(tensors)
            and all(map(operator.is_, args, tensors))
            and type(results) is tuple
            and all(type(r) is At for r in results)
            and all(what == Made(None, ()) and not s.requires_grad for what, s in self.live)
            and not (self.providers or self.gradients or self.entries or self.fixed)
            and not (self.overwritten or binding.needing)
            and all(isinstance(s, (int, Handle)) for s in self.sources)
            and all(leaf for _, leaf in self.kinds)
            and all(vars(owner).get(name, vars) is value for owner, name, value in self.guards)
        )
        ready = ready_of(binding) if plain and around.understood else None
        if ready is None:
            return None
        for owner, name, _ in self.guards:
            around.watch_names(vars(owner), {name})
        around.table = b""
        if not around.same(recorder.changed):
            return None
        made = Quick()
        made.count, made.grad, made.mode = len(tensors), self.grad, local.trace.mode
        made.surroundings, made.ready, made.scalars = around, ready, self.scalars
        leaves = [s for s in binding.plan.graph.nodes if s.op is ops.LEAF]
        made.entries = tuple([Entry(s) for s in leaves])  # type: ignore[arg-type]
        made.captured = tuple([s for s in self.sources if isinstance(s, Handle)])
        own = itertools.count()
        numbers = [s if isinstance(s, int) else ~next(own) for s in self.sources]
        made.sources = struct.pack(f"={len(numbers)}q", *numbers)
        made.answer = None if type(returned) is At else tuple([r.number for r in results])
        return made

    def apart(self, tensors: list[Handle]) -> bool:
        """Tell whether what is written shares its elements with no other tensor."""
        if not (self.written or self.gradients):
            return True
        grads = [_found(s, tensors) for s in self.written if isinstance(s, GradOf)]
        storages = [_storage(h) for h in (*tensors, *grads) if h is not None]
        return (
            len(set(storages)) == len(storages)
            and self.storages.isdisjoint(storages)
            and all(tensors[s].base is None for s in self.written if isinstance(s, int))
        )

    def run(self, tensors: list[Handle]) -> Any:
        """Replay on new arguments: the same trace, with other leaves."""
        trace = Trace(self.grad)
        trace.state = self.end
        trace.owners = [_found(s, tensors) for s in self.sources]  # type: ignore[misc]
        trace.leaves = [h.buffer.snapshot() if h.buffer.shared else h.buffer for h in trace.owners]
        trace.scalars = list(self.scalars)
        for at, provider in self.providers:
            trace.scalars[at] = provider()
        trace.overwritten, trace.freed = dict(self.overwritten), set(self.freed)
        live = [self._alive(what, tensors) for what, _ in self.live]
        try:
            for handle, (what, state) in zip(live, self.live, strict=True):
                handle.within, handle.state = trace, state
                if not isinstance(what, Made):
                    handle.version += 1
                    trace.rebound[id(handle)] = handle
                elif what.base is not None:
                    handle.base, handle.chain = live[what.base], what.chain
                    handle.seen, handle.base.viewed = handle.base.version, True
            trace.variables = {s: (live if of else trace.owners)[i] for s, of, i in self.variables}
            finish(trace, live, self.binding)
        finally:
            trace.done = True  # wherever an interrupt came, no tensor waits for this trace
            for handle in live:
                handle.within = None
        for of, gradient in self.gradients:
            _tensor(of, tensors)._grad = None if gradient is None else live[gradient.number]

        def answer(r: At | Same) -> Any:
            return live[r.number] if isinstance(r, At) else _found(r.source, tensors)

        return _map(self.returned, answer, (At, Same))

    def _alive(self, what: Made | Source, tensors: list[Handle]) -> Handle:
        found = local.make() if isinstance(what, Made) else _found(what, tensors)
        assert found is not None
        return found


def _settled(handle: Handle) -> Handle:
    """Return a handle, computed if it was pending, and derived again if its base was written."""
    if handle.base is not None and handle.seen != handle.base.version:
        refresh(handle)
    if handle.within is not None and not handle.within.done:
        flush()
    return handle


def _kind(handle: Handle) -> tuple[Meta | None, bool] | None:
    """Return what a tensor is and whether it is a leaf; None where another thread computes it."""
    _settled(handle)
    if handle.buffer is None or (handle.within is not None and not handle.within.done):
        return None
    return handle.meta, handle.segment is None


def _storage(handle: Handle) -> int:
    """Return what is equal for tensors that share elements."""
    return id(handle if handle.base is None else handle.base)


def _tensor(source: int | Handle, tensors: list[Handle]) -> Handle:
    """Return an argument by its number, or the captured tensor."""
    return source if isinstance(source, Handle) else tensors[source]


def _found(source: Source, tensors: list[Handle]) -> Handle | None:
    """Return what a leaf is at this call."""
    if isinstance(source, GradOf):
        grad: Handle | None = grad_of(_tensor(source.owner, tensors))
        return grad
    return _tensor(source, tensors)


class Compiled(Generic[P, R]):
    """A function whose recorded plan is replayed while its guards hold.

    Args:
        function: Takes and returns tensors, numbers and nests (tuple, list, dict) of them. It must
            not read a tensor's value; see `ObservationError`.
        max_plans: Distinct argument signatures kept; the oldest goes first.

    Attributes:
        recordings: How often it was recorded.
    """

    def __init__(self, function: Callable[P, R], max_plans: int = 64) -> None:
        self.function = function
        self.pins: dict[Any, list[Pin]] = {}
        self.max_plans = max_plans
        self.recordings = 0
        self.failures = 0
        self.quick: list[Quick] = []
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Replay, or record where no recorded call fits."""
        again = recorder.pinned
        if again is not None and not kwargs:
            for quick in self.quick:
                around = quick.surroundings
                if around.loose and not around.rest.hold():
                    continue
                result = again(quick, args)
                if result is None and around.touched(recorder.changed):
                    result = again(quick, args)
                if result is not None:
                    return result  # type: ignore[no-any-return]
        if local.pinning is not None or local.immediate or self.failures >= HOPELESS:
            return self.function(*args, **kwargs)
        tensors: list[Handle] = []
        others: list[Any] = []
        try:
            signature = _signature((args, kwargs), tensors, others)
        except Unrepeatable:
            return self._record(args, kwargs)
        key = (signature, local.trace.grad, local.lowered)
        for pin in self.pins.get(key, ()):
            if pin.holds(tensors):
                result = pin.run(tensors)
                if again is not None and not pin.looked:
                    self._quicken(pin, args, tensors)
                return result  # type: ignore[no-any-return]
        flush()
        surroundings = Surroundings(self.function, others)
        kinds = [(h, _kind(h)) for h in (*tensors, *surroundings.tensors)]
        result = self._record(args, kwargs)
        try:
            pin = _Recorded(tensors, result, surroundings, kinds).pin()
        except Unrepeatable:
            self.failures += 1
            return result
        self.failures = 0
        self.quick.clear()
        pins = self.pins.setdefault(key, [])
        pins.insert(0, pin)
        del pins[4:]
        while len(self.pins) > self.max_plans:
            self.pins.pop(next(iter(self.pins)), None)
        return result

    def _quicken(self, pin: Pin, args: tuple[Any, ...], tensors: list[Handle]) -> None:
        """Have the builtin run a call from now on, if it can."""
        pin.looked = True
        made = pin.quick(args, tensors)
        if made is not None:
            self.quick.insert(0, made)
            del self.quick[QUICK:]

    def _record(self, args: Any, kwargs: Any) -> R:
        flush()
        self.recordings += 1
        local.guards, local.grads, local.known, local.repeatable = [], {}, {}, True
        local.pinning = getattr(self.function, "__name__", type(self.function).__name__)
        try:
            return self.function(*args, **kwargs)
        finally:
            local.pinning = None
            local.known = {}


class _Recorded:
    """A call that was just recorded, on its way to a pin.

    Args:
        tensors: The tensor arguments.
        result: What the function returned.
        surroundings: What it could find, as it was before.
        kinds: What arguments and captured tensors were before.
    """

    def __init__(
        self, tensors: list[Handle], result: Any, surroundings: Surroundings, kinds: list[Any]
    ) -> None:
        self.trace = local.trace
        self.tensors, self.result = tensors, result
        self.surroundings, self.kinds = surroundings, kinds
        _map(result, _renewed, Handle)
        self.owners = self.trace.owners
        self.numbers = {id(t): i for i, t in enumerate(tensors)}
        touched = [(self.numbers.get(id(h), h), b, read) for h, b, read in local.grads.values()]
        self.touched: list[tuple[int | Handle, Handle | None, bool]] = touched
        self.grads = {id(b): GradOf(owner) for owner, b, _ in touched if b is not None}

    def pin(self) -> Pin:
        """Run what was recorded; return its record.

        Raises:
            Unrepeatable: it was run, but cannot be repeated.
        """
        trace = self.trace
        before = [_grad_kind(b) for _, b, _ in self.touched]
        kinds = [(h.meta, h.segment is None) for h in self.owners]
        live, binding = bind(trace)
        self.alive = {id(h): i for i, h in enumerate(live)}
        # What has a buffer was there before; the others were made, and written, inside.
        self.rewritten = {id(h) for h in trace.rebound.values() if h.buffer is not None}
        states = [h.state for h in live]
        pin = functools.partial(
            Pin, binding, trace.state, trace.grad, list(trace.scalars), list(trace.providers),
            dict(trace.overwritten), set(trace.freed), [self._source(h) for h in self.owners],
            kinds, self.surroundings, list(local.guards), self._fixed(),
        )  # fmt: skip
        variables, hooks = dict(trace.variables), dict(trace.hooks)
        lasting = self._lasting(binding, variables, hooks, bool(trace.functions))
        finish(trace, live, binding)
        changed = any(_kind(h) != k for h, k in self.kinds if id(h) not in self.rewritten)
        if not (lasting and self.surroundings.same()) or changed:
            raise Unrepeatable
        made = pin(
            [(self._what(h), s) for h, s in zip(live, states, strict=True)],
            self._variables(variables),
        )
        made.returned = _map(self.result, self._returned, Handle)
        for (owner, b, read), kind in zip(self.touched, before, strict=True):
            handle = _tensor(owner, self.tensors)
            after = grad_of(handle)
            if after is None:
                made.gradients.append((owner, None))
            elif after is not b:
                made.gradients.append((owner, At(self._number(after))))
            if read:
                made.entries.append((owner, kind, tuple(handle.hooks or ())))
        if not made.apart(self.tensors):
            raise Unrepeatable
        return made

    def _source(self, handle: Handle) -> Source:
        found = self.numbers.get(id(handle))
        return self.grads.get(id(handle), handle) if found is None else found

    def _fixed(self) -> list[tuple[int, Handle]]:
        known = {id(h) for h in self.surroundings.tensors} | set(self.grads)
        return [(i, t) for i, t in enumerate(self.tensors) if id(t) in known]

    def _lasting(
        self, binding: Binding, variables: dict[State, Handle], hooks: Any, functions: bool
    ) -> bool:
        """Tell whether later backward passes find everything they need in a plan's results."""
        leaves = (ops.LEAF, ops.VARIABLE)
        passed = [s for s in hooks if s.op not in leaves or variables[s].segment is not None]
        ours = {*map(id, self.owners), *self.alive}
        ghosts = [h for h in variables.values() if id(h) not in ours]
        return local.repeatable and not (binding.needing and (passed or functions or ghosts))

    def _what(self, handle: Handle) -> Made | Source:
        if id(handle) in self.rewritten:
            return self._source(handle)
        if handle.base is None:
            return Made(None, ())
        at = self._number(handle.base)
        if id(handle.base) in self.rewritten:
            raise Unrepeatable
        return Made(at, handle.chain)

    def _variables(self, variables: dict[State, Handle]) -> list[tuple[State, bool, int]]:
        places = {id(h): (False, i) for i, h in enumerate(self.owners)}
        places.update({key: (True, i) for key, i in self.alive.items()})
        return [(s, *places[id(h)]) for s, h in variables.items() if id(h) in places]

    def _number(self, handle: Handle) -> int:
        found = self.alive.get(id(handle))
        if found is None:
            raise Unrepeatable  # a tensor from elsewhere
        return found

    def _returned(self, handle: Handle) -> At | Same:
        known = {*self.numbers, *map(id, self.owners), *map(id, self.surroundings.tensors)}
        if id(handle) in self.rewritten or id(handle) in known:
            return Same(self._source(handle))
        return At(self._number(handle))


def _grad_kind(grad: Handle | None) -> Any:
    """Return what a gradient is before the trace that may write it is run."""
    return None if grad is None else (grad.meta, grad.segment is None)


def _renewed(handle: Handle) -> None:
    """Have a view whose base was written after it hold what it shows now."""
    if handle.base is not None and handle.seen != handle.base.version:
        refresh(handle)


def _signature(value: Any, tensors: list[Handle], others: list[Any]) -> Any:
    """Return a hashable form of nested arguments; tensors by kind, collected in order.

    Raises:
        Unrepeatable: an argument is no key, or is being computed by another thread.
    """
    if isinstance(value, Handle):
        for i, known in enumerate(tensors):
            if known is value:
                return ("again", i)
        kind = _kind(value)
        if kind is None:
            raise Unrepeatable
        tensors.append(value)
        return kind
    of = type(value)
    if of is list or _is_tuple(value):
        return (of, *[_signature(v, tensors, others) for v in value])
    if of is dict:
        return (dict, *[_signature(pair, tensors, others) for pair in value.items()])
    if of is slice:
        ends = (value.start, value.stop, value.step)
        return (slice, *[_signature(v, tensors, others) for v in ends])
    try:
        hash(value)
    except TypeError:
        raise Unrepeatable from None
    others.append(value)
    if isinstance(value, ALIKE) or _plain(value):
        return (of, value, exact(value))
    return (of, id(value))  # a pin keeps it; what is equal may still differ


def _is_tuple(value: Any) -> bool:
    """Tell whether a value is a tuple, also one with names, that has nothing but its elements."""
    return isinstance(value, tuple) and not getattr(value, "__dict__", None)


def _plain(value: Any) -> bool:
    """Tell whether a value is immutable, and equal only to what does the same."""
    if type(value) in PLAIN or isinstance(value, (Enum, np.generic)):
        return True
    ours = type(value).__module__.partition(".")[0] == "tenor"
    return ours and not hasattr(value, "__dict__")  # a device, a size


def _map(value: Any, function: Callable[[Any], Any], kind: type | tuple[type, ...]) -> Any:
    """Apply a function to every `kind` in a nest.

    Raises:
        Unrepeatable: it holds what is neither plain nor taken apart here.
    """
    if isinstance(value, kind):
        return function(value)
    if _is_tuple(value) and (type(value) is tuple or hasattr(value, "_fields")):
        made = [_map(v, function, kind) for v in value]
        return type(value)(*made) if hasattr(value, "_fields") else tuple(made)
    if type(value) is list:
        return [_map(v, function, kind) for v in value]
    if type(value) is dict:
        return {_map(k, function, kind): _map(v, function, kind) for k, v in value.items()}
    if not _plain(value):
        raise Unrepeatable
    return value
