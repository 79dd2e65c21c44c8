"""Schedules that rise and fall, the momentum going the other way."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tenor.errors import ArgumentError
from tenor.optim.schedule import LRScheduler, check, for_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.optim.optimizer import Optimizer

__all__ = ["CyclicLR", "OneCycleLR"]


class OneCycleLR(LRScheduler):
    """Rise from max_lr / div_factor to max_lr, then fall to nearly nothing (Smith, 2018).

    Momentum, or the first beta, goes the other way. Step it once a batch.

    Args:
        optimizer: Whose groups are scheduled.
        max_lr: The highest rate, or one for each group.
        total_steps: Steps of the cycle; or give `epochs` and `steps_per_epoch`.
        epochs: Epochs of the cycle.
        steps_per_epoch: Batches of an epoch.
        pct_start: The share of the cycle that rises.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: Whether momentum is scheduled too.
        base_momentum: The lowest momentum.
        max_momentum: The highest momentum.
        div_factor: max_lr over the first rate.
        final_div_factor: The first rate over the last.
        three_phase: Fall to the first rate as fast as it rose, then to the last.
        last_epoch: Steps taken before.

    Raises:
        ArgumentError: the length is not given, or an option is out of its domain.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        check(optimizer, "OneCycleLR")
        if total_steps is None and epochs is not None and steps_per_epoch is not None:
            total_steps = epochs * steps_per_epoch
        if total_steps is None or total_steps <= 0 or anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(
                "OneCycleLR: needs its length in steps, and cos or linear.",
                came=f"total_steps={total_steps}, anneal_strategy={anneal_strategy!r}",
                fix="pass total_steps, or epochs and steps_per_epoch",
            )
        self.total_steps = total_steps
        self.cos = anneal_strategy == "cos"
        self.cycle_momentum = cycle_momentum
        self.phases = _phases(total_steps, pct_start, three_phase)
        groups = optimizer.param_groups
        peaks = [max_lr] * len(groups) if isinstance(max_lr, (int, float)) else list(max_lr)
        if last_epoch == -1:
            for group, peak in zip(groups, peaks, strict=True):
                start = peak / div_factor
                group.update(max_lr=peak, initial_lr=start, min_lr=start / final_div_factor)
                group["lr"] = start
                if cycle_momentum:
                    group.update(max_momentum=max_momentum, base_momentum=base_momentum)
                    _set_momentum(group, max_momentum)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates of the cycle, and set the momenta.

        Raises:
            ArgumentError: the cycle is over.
        """
        t = self.last_epoch
        if t > self.total_steps:
            raise ArgumentError(
                f"OneCycleLR: the cycle has {self.total_steps} steps.",
                came=f"step {t}",
                fix="make it longer, or stop stepping it",
            )
        begin = 0.0
        phase = self.phases[-1]
        for phase in self.phases:
            if t <= phase[0]:
                break
            begin = phase[0]
        end, rates, momenta = phase
        begin = min(begin, self.phases[-2][0])
        share = (t - begin) / (end - begin)
        result = []
        for group in self.optimizer.param_groups:
            result.append(self._between(group[rates[0]], group[rates[1]], share))
            if self.cycle_momentum:
                _set_momentum(group, self._between(group[momenta[0]], group[momenta[1]], share))
        return result

    def _between(self, start: float, end: float, share: float) -> float:
        if self.cos:
            return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * share))
        return start + (end - start) * share


Phase = tuple[float, tuple[str, str], tuple[str, str]]


def _phases(total: int, share: float, three: bool) -> list[Phase]:
    """Return each phase's last step and the options it leads from and to."""
    top = float(share * total) - 1.0
    rise: Phase = (top, ("initial_lr", "max_lr"), ("max_momentum", "base_momentum"))
    if not three:
        fall: Phase = (total - 1.0, ("max_lr", "min_lr"), ("base_momentum", "max_momentum"))
        return [rise, fall]
    foot = float(2 * share * total) - 2.0
    return [
        rise,
        (foot, ("max_lr", "initial_lr"), ("base_momentum", "max_momentum")),
        (total - 1.0, ("initial_lr", "min_lr"), ("max_momentum", "max_momentum")),
    ]


def _set_momentum(group: dict[str, Any], value: float) -> None:
    if "betas" in group:
        group["betas"] = (value, *group["betas"][1:])
    elif "momentum" in group:
        group["momentum"] = value
    else:
        raise ArgumentError(
            "the cycle: the optimizer must have momentum or betas.",
            came=f"options {sorted(group)}",
            fix="pass cycle_momentum=False",
        )


SCALES: dict[str, tuple[str, Callable[[float, float], float]]] = {
    "triangular": ("cycle", lambda _gamma, _n: 1.0),
    "triangular2": ("cycle", lambda _gamma, n: 0.5 ** (n - 1)),
    "exp_range": ("iterations", lambda gamma, n: gamma**n),
}
"""For each mode, what is counted, and what the cycle's height is multiplied by."""


class CyclicLR(LRScheduler):
    """Rise from base_lr to max_lr and fall back, again and again (Smith 2015).

    Momentum, or the first beta, goes the other way. Step it once a batch.

    Args:
        optimizer: Whose groups are scheduled.
        base_lr: The lowest rate, or one for each group.
        max_lr: The highest rate, or one for each group.
        step_size_up: Steps that rise.
        step_size_down: Steps that fall; as many by default.
        mode: "triangular"; "triangular2", each cycle half as high as the one before; or
            "exp_range", each step gamma times as high.
        gamma: For "exp_range".
        scale_fn: Instead of a mode, what the height is multiplied by.
        scale_mode: What `scale_fn` is given: the "cycle", counted from 1, or the "iterations".
        cycle_momentum: Whether momentum is scheduled too.
        base_momentum: The lowest momentum, or one for each group.
        max_momentum: The highest momentum, or one for each group.
        last_epoch: Steps taken before.

    Raises:
        ArgumentError: an option is out of its domain, or the optimizer has no momentum.

    Example:
        >>> import tenor as tn
        >>> sgd = tn.optim.SGD([tn.ones(1, requires_grad=True)], lr=1.0, momentum=0.9)
        >>> schedule = CyclicLR(sgd, 0.0, 1.0, step_size_up=2)
        >>> rates = []
        >>> for _ in range(5):
        ...     rates += schedule.get_last_lr()
        ...     schedule.step()
        >>> rates
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        base_lrs = for_groups("CyclicLR", base_lr, optimizer)
        self.max_lrs = for_groups("CyclicLR", max_lr, optimizer)
        down = step_size_up if step_size_down is None else step_size_down
        known = scale_fn is not None or mode in SCALES
        if step_size_up < 1 or down < 1 or not known or scale_mode not in ("cycle", "iterations"):
            raise ArgumentError(
                "CyclicLR: needs steps up and down, a mode it knows or scale_fn, and a scale_mode "
                "of cycle or iterations.",
                came=f"step_size_up={step_size_up}, step_size_down={step_size_down}, mode={mode!r}"
                f", scale_mode={scale_mode!r}",
                fix=f"e.g. step_size_up=2000, mode= one of {', '.join(SCALES)}",
            )
        self.total_size = float(step_size_up + down)
        self.step_ratio = step_size_up / self.total_size
        self.mode = mode
        self.gamma = gamma
        self.scale_fn = scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else SCALES[mode][0]
        self.cycle_momentum = cycle_momentum
        self.base_momentums = for_groups("CyclicLR", base_momentum, optimizer)
        self.max_momentums = for_groups("CyclicLR", max_momentum, optimizer)
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, base_lrs, strict=True):
                group["lr"] = rate
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def get_lr(self) -> list[float]:
        """Return the rates of the cycle, and set the momenta."""
        turns = self.last_epoch / self.total_size
        cycle = math.floor(1.0 + turns)
        share = 1.0 + turns - cycle
        rises = share <= self.step_ratio
        height = share / self.step_ratio if rises else (share - 1.0) / (self.step_ratio - 1.0)
        height *= self._scale(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            groups = self.optimizer.param_groups
            ends = zip(groups, self.base_momentums, self.max_momentums, strict=True)
            for group, low, high in ends:
                _set_momentum(group, high - (high - low) * height)
        pairs = zip(self.base_lrs, self.max_lrs, strict=True)
        return [low + (high - low) * height for low, high in pairs]

    def _scale(self, count: float) -> float:
        if self.scale_fn is not None:
            return self.scale_fn(count)
        return SCALES[self.mode][1](self.gamma, count)
