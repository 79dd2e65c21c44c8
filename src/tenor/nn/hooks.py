"""Hooks: functions called before, after and behind a module."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from tenor.engine.handle import Handle
from tenor.tensor.autograd import Function

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.tensor.autograd import Context

__all__ = ["RemovableHandle", "watch_inputs", "watch_outputs"]


class RemovableHandle:
    """Takes a hook away again with `remove()`, or at the end of a `with` block."""

    ids = itertools.count()

    def __init__(self, hooks: dict[int, Any], hook: Any, first: bool = False) -> None:
        self.hooks = hooks
        self.id = next(self.ids)
        hooks[self.id] = hook
        if first:
            others = {key: hooks.pop(key) for key in list(hooks) if key != self.id}
            hooks.update(others)

    def remove(self) -> None:
        """Take the hook away; again is no error."""
        self.hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class Passage(Function):
    """Return tensors as they are; backward hands their gradients to a function."""

    @staticmethod
    def forward(ctx: Context, answer: Callable[..., Any], *tensors: Any) -> tuple[Any, ...]:
        """Return the tensors."""
        ctx.answer = answer  # type: ignore[attr-defined]
        ctx.set_materialize_grads(False)
        return tensors

    @staticmethod
    def backward(ctx: Context, *grads: Any) -> tuple[Any, ...]:
        """Return what the function makes of the gradients."""
        return (None, *ctx.answer(grads))  # type: ignore[attr-defined]


class Gradients:
    """The gradients of one call of a module, as they become known.

    Attributes:
        outputs: Of the outputs, once known.
    """

    def __init__(self, module: Any, hooks: Sequence[Callable[..., Any]]) -> None:
        self.module = module
        self.hooks = list(hooks)
        self.outputs: tuple[Any, ...] = ()

    def call(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Call the hooks; return the inputs' gradients as they leave them."""
        for hook in self.hooks:
            changed = hook(self.module, inputs, self.outputs)
            if changed is not None:
                inputs = changed if isinstance(changed, tuple) else (changed,)
        return inputs


def _places(values: Sequence[Any]) -> list[int]:
    return [i for i, v in enumerate(values) if isinstance(v, Handle) and v.needs_grad]


def watch_inputs(gradients: Gradients, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a call's arguments, watched so that the hooks see their gradients."""
    places = _places(args)
    if not places:
        return args

    def answer(given: Sequence[Any]) -> list[Any]:
        whole: list[Any] = [None] * len(args)
        for place, g in zip(places, given, strict=True):
            whole[place] = g
        changed = gradients.call(tuple(whole))
        return [changed[place] for place in places]

    watched = list(args)
    passed = Passage.apply(answer, *[args[i] for i in places])
    for place, tensor in zip(places, passed, strict=True):
        watched[place] = tensor
    return tuple(watched)


def watch_outputs(
    gradients: Gradients, before: Sequence[Callable[..., Any]], inputs: tuple[Any, ...], result: Any
) -> Any:
    """Return a call's result, watched so that the hooks see its gradients.

    Args:
        gradients: Of this call.
        before: Hooks that may replace the gradients of the outputs.
        inputs: The call's arguments; where none needs a gradient the hooks are called at once.
        result: A tensor, or a tuple or list with tensors.
    """
    several = isinstance(result, (tuple, list))
    values = list(result) if several else [result]
    places = _places(values)
    if not places:
        return result
    alone = not _places(inputs)

    def answer(given: Sequence[Any]) -> list[Any]:
        whole: list[Any] = [None] * len(values)
        for place, g in zip(places, given, strict=True):
            whole[place] = g
        found = tuple(whole)
        for hook in before:
            changed = hook(gradients.module, found)
            if changed is not None:
                found = changed if isinstance(changed, tuple) else (changed,)
        gradients.outputs = found
        if alone:
            gradients.call((None,) * len(inputs))
        return [found[place] for place in places]

    passed = Passage.apply(answer, *[values[i] for i in places])
    for place, tensor in zip(places, passed, strict=True):
        values[place] = tensor
    return type(result)(values) if several else values[0]
