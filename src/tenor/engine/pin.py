"""`tn.compile`: run a function once under the recorder, then replay its plan in one call.

What a replay repeats: the returned tensors, in-place writes to captured tensors (parameters,
optimiser state, running statistics) and `.grad` of captured tensors. What it guards: the metas of
tensor arguments, the values of other arguments, the grad mode, and what modules ask to be guarded
(their training flag). Python side effects happen on the first call only.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, TypeVar

from tenor.engine.flush import Binding, bind, finish, flush
from tenor.engine.handle import Handle
from tenor.engine.liveness import IN_A_LIST, getrefcount
from tenor.engine.tape import Segment
from tenor.engine.trace import local, refresh
from tenor.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.engine.trie import Meta, State

__all__ = ["Compiled", "guard", "pinned"]

P = ParamSpec("P")
R = TypeVar("R")


def guard(owner: object, name: str) -> None:
    """Make the function being compiled depend on an attribute: when it changes, record again."""
    if local.pinning is not None:
        local.guards.append((owner, name, getattr(owner, name)))


def pinned() -> bool:
    """Tell whether a function is being compiled at this moment."""
    return local.pinning is not None


@dataclass
class Result:
    """One tensor a replay makes: its place, what it is, and whose gradient it is."""

    place: tuple[str, int]
    meta: Meta
    state: State
    owner: Handle | None = None


class GradOf(NamedTuple):
    """What stands in a tensor's `.grad` at each call: of an argument, or of a captured tensor."""

    owner: int | Handle


@dataclass
class Same:
    """A tensor returned as it came: an argument, a captured tensor or a gradient of one."""

    source: int | Handle | GradOf


@dataclass
class Pin:
    """A recorded call.

    Attributes:
        binding: Its plan.
        sources: For each leaf: the number of a tensor argument, the captured tensor, or whose
            gradient it is.
        metas: The leaves' metas, as guards.
        guards: (owner, attribute, value) that must still hold.
        scalars: The run-time numbers of the first call.
        providers: Which of them are asked for again.
        returned: The returned structure, with a Result or Same for each tensor.
        written: What is written in place.
        gradients: Tensors whose `.grad` was set; None clears it.
        entries: Tensors whose `.grad` was read, and what it has to be: of a meta, or None.
    """

    binding: Binding
    sources: list[int | Handle | GradOf]
    metas: list[Meta | None]
    guards: list[tuple[object, str, Any]]
    scalars: list[Any]
    providers: list[tuple[int, Callable[[], Any]]]
    returned: Any = None
    written: list[tuple[int | Handle | GradOf, Result]] = field(default_factory=list)
    gradients: list[tuple[int | Handle, Result | None]] = field(default_factory=list)
    entries: list[tuple[int | Handle, Meta | None]] = field(default_factory=list)
    end: State | None = None
    serial: int = 0
    variables: list[tuple[State, int]] = field(default_factory=list)

    def holds(self, tensors: list[Handle]) -> bool:
        """Tell whether everything the record depended on is as it was."""
        for source, wanted in zip(self.sources, self.metas, strict=True):
            if isinstance(source, int):
                continue
            held = _found(source, tensors)
            if held is None:
                return False
            if _settled(held).meta is not wanted or held.buffer is None:
                return False
        for owner, wanted in self.entries:
            grad = _tensor(owner, tensors)._grad
            if (None if grad is None else _settled(grad).meta) is not wanted:
                return False
        return all(getattr(owner, name) == value for owner, name, value in self.guards)

    def run(self, tensors: list[Handle]) -> Any:
        """Replay on new arguments."""
        owners: list[Any] = [_found(s, tensors) for s in self.sources]
        leaves = [h.buffer.snapshot() if h.buffer.shared else h.buffer for h in owners]
        plan = self.binding.plan
        for i in plan.donated:
            # Anybody but the tensor and this list would see it change.
            if getrefcount(leaves[i]) > IN_A_LIST + 1:
                leaves[i] = leaves[i].snapshot()
        for at, provider in self.providers:
            self.scalars[at] = provider()
        outputs, code, value = plan.runner.run(leaves, self.scalars)
        if code:
            raise plan.error(code, value, leaves, self.scalars)

        def buffer(place: tuple[str, int]) -> Any:
            return outputs[place[1]] if place[0] == "output" else leaves[place[1]]

        segment = None
        if self.binding.saved:
            saved = {state: buffer(place) for state, place in self.binding.saved}
            variables = {s: (owners[i], owners[i].version) for s, i in self.variables}
            assert self.end is not None
            segment = Segment(
                self.serial, self.end, saved, self.binding.readers, variables, {}, {}, {}
            )
        for target, result in self.written:
            owner = _found(target, tensors)
            assert owner is not None
            owner.buffer, owner.meta, owner.trace = buffer(result.place), result.meta, None
            owner.version += 1
        for of, gradient in self.gradients:
            _tensor(of, tensors)._grad = (
                None if gradient is None else _make(gradient, buffer(gradient.place), None)
            )

        def answer(r: Result | Same) -> Handle:
            if isinstance(r, Result):
                return _make(r, buffer(r.place), segment)
            found = _found(r.source, tensors)
            assert found is not None
            return found

        return _map(self.returned, answer, (Result, Same))


def _settled(handle: Handle) -> Handle:
    """Return a handle, computed if it was pending."""
    if handle.trace is not None and not handle.trace.done:
        flush()
    return handle


def _tensor(source: int | Handle, tensors: list[Handle]) -> Handle:
    """Return an argument by its number, or the captured tensor."""
    return source if isinstance(source, Handle) else tensors[source]


def _found(source: int | Handle | GradOf, tensors: list[Handle]) -> Handle | None:
    """Return what a leaf is at this call."""
    if isinstance(source, GradOf):
        grad: Handle | None = _tensor(source.owner, tensors)._grad
        return grad
    return _tensor(source, tensors)


def _make(result: Result, buffer: Any, segment: Segment | None) -> Handle:
    handle = local.make()
    handle.trace = None
    handle.buffer, handle.meta = buffer, result.meta
    if segment is not None and result.meta.requires_grad:
        handle.segment, handle.origin = segment, result.state
    return handle


class Compiled(Generic[P, R]):
    """A function whose recorded plan is replayed while its guards hold.

    Args:
        function: Takes and returns tensors, numbers and nests (tuple, list, dict) of them. It must
            not read a tensor's value; see `ObservationError`.
        max_plans: Distinct argument signatures kept; the oldest goes first.
    """

    def __init__(self, function: Callable[P, R], max_plans: int = 64) -> None:
        self.function = function
        self.pins: dict[Any, list[Pin]] = {}
        self.max_plans = max_plans
        self.recordings = 0
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Replay, or record where no recorded call fits."""
        if local.pinning is not None or local.immediate:
            return self.function(*args, **kwargs)
        tensors: list[Handle] = []
        key = (_signature((args, kwargs), tensors), local.trace.grad, local.lowered)
        for pin in self.pins.get(key, ()):
            if pin.holds(tensors):
                return pin.run(tensors)  # type: ignore[no-any-return]
        return self._record(key, tensors, args, kwargs)

    def _record(self, key: Any, tensors: list[Handle], args: Any, kwargs: Any) -> R:
        flush()
        self.recordings += 1
        local.guards = []
        local.grads = {}
        local.pinning = getattr(self.function, "__name__", type(self.function).__name__)
        try:
            result = self.function(*args, **kwargs)
        finally:
            local.pinning = None
        pin = self._pin(tensors, result)
        if pin is None:
            return result
        pins = self.pins.setdefault(key, [])
        pins.insert(0, pin)
        del pins[4:]
        while len(self.pins) > self.max_plans:
            del self.pins[next(iter(self.pins))]
        return result

    def _pin(self, tensors: list[Handle], result: Any) -> Pin | None:
        """Return the record of what was just run; None where it cannot be replayed."""
        trace = local.trace
        _map(result, _renewed, Handle)
        owners = trace.owners
        numbers = {id(t): i for i, t in enumerate(tensors)}
        touched = [
            (numbers.get(id(h), h), before, read) for h, before, read in local.grads.values()
        ]
        grads = {id(before): GradOf(owner) for owner, before, _ in touched if before is not None}
        sources: list[int | Handle | GradOf] = [
            numbers.get(id(h), grads.get(id(h), h)) for h in owners
        ]
        metas = [h.meta for h in owners]
        live, binding = bind(trace)
        places = {id(h): p for h, p in zip(live, binding.places, strict=True)}
        states = {id(h): h.state for h in live}
        # What has a buffer was there before; the others were made, and written, inside.
        rewritten = [h for h in trace.rebound.values() if h.buffer is not None]
        written_ids = set(trace.rebound)
        of_a_view = any(t.base is not None and {id(t), id(t.base)} & written_ids for t in tensors)
        variables = [
            (s, _position(owners, h))
            for s, h in trace.variables.items()
            if any(h is o for o in owners)
        ]
        end, serial = trace.state, trace.serial
        scalars, providers = list(trace.scalars), list(trace.providers)
        returned_ids: dict[int, Handle] = {}
        _map(result, lambda h: returned_ids.setdefault(id(h), h), Handle)
        finish(trace, live, binding)
        if of_a_view:
            return None  # what an argument is a view of is not known of the next one

        def result_of(handle: Handle) -> Result:
            assert handle.meta is not None
            if id(handle) not in places:
                raise ArgumentError(
                    "tn.compile: the function returns a tensor it did not compute.",
                    came=f"a tensor of shape {handle.meta.shape} made elsewhere",
                    fix="return it from the caller, or return x.clone()",
                )
            return Result(places[id(handle)], handle.meta, states[id(handle)])

        def returned(handle: Handle) -> Result | Same:
            if id(handle) in numbers:
                return Same(numbers[id(handle)])
            at = next((i for i, h in enumerate(owners) if h is handle), None)
            return result_of(handle) if at is None else Same(sources[at])

        pin = Pin(binding, sources, metas, list(local.guards), scalars, providers)
        pin.end, pin.serial, pin.variables = end, serial, variables
        pin.returned = _map(result, returned, Handle)
        pin.written = [(numbers.get(id(h), grads.get(id(h), h)), result_of(h)) for h in rewritten]
        for owner, before, read in touched:
            after = _tensor(owner, tensors)._grad
            if after is None:
                pin.gradients.append((owner, None))
            elif after is not before:
                if id(after) not in places:
                    return None  # a tensor from elsewhere was made its gradient
                pin.gradients.append((owner, result_of(after)))
            if read:
                pin.entries.append((owner, None if before is None else before.meta))
        return pin


def _renewed(handle: Handle) -> None:
    """Have a view whose base was written after it hold what it shows now."""
    if handle.base is not None and handle.seen != handle.base.version:
        refresh(handle)


def _position(owners: list[Handle], handle: Handle) -> int:
    return next(i for i, owner in enumerate(owners) if owner is handle)


def _signature(value: Any, tensors: list[Handle]) -> Any:
    """Return a hashable form of nested arguments; tensors by meta, collected in order."""
    if isinstance(value, Handle):
        _settled(value)
        for i, known in enumerate(tensors):
            if known is value:
                return ("again", i)
        tensors.append(value)
        return value.meta
    if isinstance(value, (tuple, list)):
        return (type(value), *[_signature(v, tensors) for v in value])
    if isinstance(value, dict):
        return (dict, *[(k, _signature(v, tensors)) for k, v in value.items()])
    try:
        hash(value)
    except TypeError:
        return id(value)
    return (type(value), value)


def _map(value: Any, function: Callable[[Any], Any], kind: type | tuple[type, ...]) -> Any:
    """Apply a function to every `kind` in a nest."""
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, tuple):
        made = [_map(v, function, kind) for v in value]
        return type(value)(*made) if hasattr(value, "_fields") else tuple(made)
    if isinstance(value, list):
        return [_map(v, function, kind) for v in value]
    if isinstance(value, dict):
        return {k: _map(v, function, kind) for k, v in value.items()}
    return value
