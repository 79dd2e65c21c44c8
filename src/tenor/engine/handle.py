"""A handle: what a user holds of a value that may not have been computed yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from tenor.ir.op import DETACH

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.engine.trace import Trace
    from tenor.engine.trie import Meta, State
    from tenor.ir.dtype import DType
    from tenor.ir.node import Shape

__all__ = ["Handle"]


class Handle:
    """The engine's half of a tensor.

    Pending: `within` is the thread's current trace and `state` its position there.
    Concrete: `buffer` holds the bytes and `meta` says what they are.

    Attributes:
        base: The tensor this one is a view of.
        chain: How to derive it from the base: (op, attrs) one after another.
        seen: The base's version when it was derived.
        version: How often it was written in place.
        viewed: Whether views of it exist.
        grad: The accumulated gradient.
        segment, origin: Where it was computed, if a gradient may yet flow back through it.
        hooks: Functions called with its gradient.
        after: Functions called with the tensor itself when its gradient was accumulated.
    """

    # What recorded calls read and write; the rest is rarer and has class defaults.
    __slots__ = (
        "__dict__", "__weakref__", "_grad", "base", "buffer", "chain", "hooks", "meta", "origin",
        "seen", "segment", "state", "version", "viewed", "within",
    )  # fmt: skip

    within: Trace | None
    state: State
    _grad: Any
    base: Handle | None
    buffer: Any
    chain: tuple[tuple[Any, tuple[Any, ...]], ...]
    hooks: list[Callable[[Any], Any]] | None
    meta: Meta | None
    origin: State | None
    seen: int
    segment: Any
    version: int
    viewed: bool

    after: list[Callable[[Any], Any]] | None = None

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Return a handle that has no value yet and is no view."""
        made = object.__new__(cls)
        made.base = made.buffer = made.hooks = made.meta = None
        made.origin = made.segment = made._grad = None
        made.chain = ()
        made.seen = made.version = 0
        made.viewed = False
        return made

    @property
    def shape_tuple(self) -> Shape:
        """The shape as a plain tuple, pending or not."""
        trace = self.within
        if trace is None or trace.done:
            assert self.meta is not None
            return self.meta.shape
        return self.state.shape

    @property
    def element_type(self) -> DType:
        """The dtype, pending or not."""
        trace = self.within
        if trace is None or trace.done:
            assert self.meta is not None
            return self.meta.dtype
        return self.state.dtype

    @property
    def needs_grad(self) -> bool:
        """Whether a gradient flows into it."""
        if self.base is not None and self.seen != self.base.version:
            return self.base.needs_grad and not any(op is DETACH for op, _ in self.chain)
        trace = self.within
        if trace is None or trace.done:
            assert self.meta is not None
            return self.meta.requires_grad
        return self.state.requires_grad
