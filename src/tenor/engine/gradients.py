"""The gradients of one replayed backward pass, all under one name until one of them is looked at.

A step of many small parameters would make, keep and drop a handle and a buffer for each gradient
that nobody ever looks at. While that is so, every parameter's `_grad` is the same `Gradients`.
"""

from __future__ import annotations

from time import sleep
from typing import TYPE_CHECKING, Any, Final

from tenor.engine.trace import local
from tenor.engine.trie import meta
from tenor.runtime.allocator import Buffer

if TYPE_CHECKING:
    from tenor.engine.handle import Handle
    from tenor.engine.trace import Trace
    from tenor.engine.trie import State

__all__ = ["SMALL", "Gradients", "grad_of", "touch_grad"]

SMALL: Final = 1 << 14
"""Bytes up to which a gradient shares a block of memory with others."""


def grad_of(owner: Handle) -> Any:
    """Return a tensor's gradient, one of many made a tensor of its own; or None."""
    found = owner._grad
    return found.of(owner) if type(found) is Gradients else found


def touch_grad(owner: Handle, *, read: bool) -> None:
    """Note for `tn.compile` what a tensor's `.grad` was when the function first met it."""
    if local.pinning is not None:
        local.grads.setdefault(id(owner), (owner, grad_of(owner), read))


class Gradients:
    """What a backward pass gave each of its leaves.

    Args:
        trace: Where it was recorded.
        macro: What it recorded.
        owners: The leaves; they are known by their ids alone, as each holds this object.

    Attributes:
        buffers: The values once they are computed; None for those in `memory`.
        parts: Where those lie there: (offset, bytes).
    """

    __slots__ = ("buffers", "ids", "macro", "memory", "parts", "states", "trace")

    def __init__(self, trace: Trace, macro: Any, owners: list[Handle]) -> None:
        self.trace: Trace | None = trace
        self.macro = macro
        self.states: tuple[State, ...] = macro.states
        self.ids = list(map(id, owners))
        self.buffers: list[Any] = []
        self.parts: list[tuple[int, int]] = []
        self.memory: Any = None

    def of(self, owner: Handle) -> Handle:
        """Return the gradient of a leaf as a tensor, which takes this object's place."""
        trace = self.trace
        while trace is not None and trace.sealed and trace is not local.trace:
            sleep(0.0001)  # another thread is computing it
            trace = self.trace
        handle = owner._grad = self.handle(self.ids.index(id(owner)))
        return handle

    def handle(self, at: int) -> Handle:
        """Return a new tensor of one gradient."""
        state, trace = self.states[at], self.trace
        handle = local.make()
        handle.state = state
        handle.within = trace
        if trace is not None:
            trace.outs.append(handle)
        else:
            handle.buffer = self._buffer(at)
            handle.meta = meta(state.shape, state.dtype, state.requires_grad)
        return handle

    def _buffer(self, at: int) -> Any:
        found = self.buffers[at]
        if found is None:
            offset, nbytes = self.parts[at]
            found = Buffer(self.memory.pointer + offset, nbytes, self.memory)
            self.buffers[at] = found
        return found

    def fill(self, buffers: list[Any], parts: list[tuple[int, int]], memory: Any) -> None:
        """Take the values over."""
        self.buffers, self.parts, self.memory = buffers, parts, memory
        self.trace = None
