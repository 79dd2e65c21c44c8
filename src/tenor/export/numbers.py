"""The numbers that change from one training step to the next, as formulas of the rate and the step.

A recorded step has slots for them: the step size with its corrections, and where random numbers go
on. Python works them out in `Optimizer.numbers`; here they are written so that another language
can. A test compares the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tenor.errors import ArgumentError
from tenor.optim import SGD, Adam, RMSprop
from tenor.optim.count import StepNumber
from tenor.tensor.random import Draw, Key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Number", "numbers_of"]


@dataclass(frozen=True)
class Number:
    """One slot.

    Attributes:
        kind: "f64" or "i64", eight bytes either way.
        text: A JavaScript expression of `lr` and `t`, the step counted from 1; a BigInt for "i64".
    """

    kind: str
    text: str

    def value(self, lr: float, t: int) -> float | int:
        """Return the number at a step, as JavaScript works it out."""
        names: dict[str, Any] = {"lr": lr, "t": t, "sqrt": math.sqrt, "BigInt": int}
        names |= {"Infinity": math.inf, "NaN": math.nan}
        found: float | int = eval(self.text.replace("Math.", ""), {"__builtins__": {}}, names)  # noqa: S307 - our own text
        return found


def _literal(value: float) -> str:
    return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(
        str(float(value)), repr(float(value))
    )


def _sgd(group: Mapping[str, Any], rate: str) -> list[str]:
    taken = f"1 - {float(group['dampening'])!r} * (t > 1)"
    decay = [repr(float(group["weight_decay"]))] if group["weight_decay"] else []
    return [rate, *decay, *([repr(float(group["momentum"])), taken] if group["momentum"] else [])]


def _adam(group: Mapping[str, Any], rate: str) -> list[str]:
    b1, b2 = map(float, group["betas"])
    decay = float(group["weight_decay"])
    shrink = f"1 - {rate} * {decay!r}" if group["decoupled_weight_decay"] else repr(decay)
    size, root = f"{rate} / (1 - {b1!r} ** t)", f"Math.sqrt(1 - {b2!r} ** t)"
    return [size, repr(1.0 - b1), repr(b2), repr(1.0 - b2), root, repr(group["eps"]), shrink]


def _rmsprop(group: Mapping[str, Any], rate: str) -> list[str]:
    alpha = float(group["alpha"])
    rest = (alpha, 1.0 - alpha, group["eps"], group["momentum"], group["weight_decay"])
    return [rate, *(repr(float(x)) for x in rest)]


FORMULAS: Final[dict[type, Callable[[Mapping[str, Any], str], list[str]]]] = {
    SGD: _sgd, Adam: _adam, RMSprop: _rmsprop,
}  # fmt: skip
"""What `Optimizer.numbers` gives, in its order, for each optimizer, at a group's rate."""


def _rate(optimizer: Any, group: Mapping[str, Any]) -> str:
    """Return a group's rate: as much of `lr`, the first group's, as it is to begin with."""
    first, own = (float(g["lr"]) for g in (optimizer.param_groups[0], group))
    if own == first:
        return "lr"
    return f"lr * {own / first!r}" if first else repr(own)


def numbers_of(
    optimizer: Any,
    values: Sequence[Any],
    providers: Sequence[tuple[int, Any]],
    kinds: Sequence[str],
) -> list[Number]:
    """Return a recorded step's numbers.

    Args:
        optimizer: The optimizer that recorded it.
        values: What each slot held in the recorded step.
        providers: For slots that change: (slot, what is asked for it).
        kinds: "f64" or "i64" for each slot.

    Raises:
        ArgumentError: A number comes from where no formula is known of.
    """
    asked = dict(providers)
    draws = [p for _, p in providers if isinstance(p, Draw)]
    total = sum(draw.blocks for draw in draws)
    found, before = [], 0
    for at, (value, kind) in enumerate(zip(values, kinds, strict=True)):
        provider = asked.get(at)
        if provider is None or isinstance(provider, Key):
            text = f"BigInt({value})" if kind == "i64" else _literal(value)
        elif isinstance(provider, Draw):
            text = f"BigInt({before} + (t - 1) * {total})"
            before += provider.blocks
        else:
            text = _stepped(optimizer, provider)
        found.append(Number(kind, text))
    return found


def _stepped(optimizer: Any, provider: Any) -> str:
    formula = next((f for kind, f in FORMULAS.items() if isinstance(optimizer, kind)), None)
    if formula is None or not isinstance(provider, StepNumber):
        raise ArgumentError(
            "export: a training step's numbers must be an optimizer's or a generator's.",
            came=type(optimizer).__name__ if formula is None else type(provider).__name__,
            fix="use SGD, Adam, AdamW or RMSprop",
        )
    group = provider.numbers.group
    return formula(group, _rate(optimizer, group))[provider.at]
