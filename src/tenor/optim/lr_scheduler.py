"""Learning-rate schedules: how an optimizer's rate changes from step to step.

The rates are plain numbers in `optimizer.param_groups`; changing them compiles nothing. Call
`scheduler.step()` after `optimizer.step()`, once an epoch or once a batch, as it is meant.
Schedules multiply the rate they find, so several can be stepped on one optimizer.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING, Any

from tenor.engine.pin import once
from tenor.errors import ArgumentError
from tenor.optim.optimizer import Optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "ExponentialLR",
    "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "OneCycleLR", "PolynomialLR",
    "ReduceLROnPlateau", "SequentialLR", "StepLR",
]  # fmt: skip


class LRScheduler:
    """Base of the schedules: `get_lr` says the rates of the next step.

    Args:
        optimizer: Whose groups are scheduled.
        last_epoch: Steps taken before, where a run goes on; -1 begins anew.

    Attributes:
        base_lrs: Each group's rate before any schedule.
        last_epoch: Steps taken.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        _check(optimizer, type(self).__name__)
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            if last_epoch == -1:
                group.setdefault("initial_lr", float(group["lr"]))
            elif "initial_lr" not in group:
                raise ArgumentError(
                    f"{type(self).__name__}: a run that goes on needs each group's initial_lr.",
                    came=f"last_epoch={last_epoch}, and a group without",
                    fix="load the optimizer's state first, or pass last_epoch=-1",
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._last_lr: list[float] = []
        if last_epoch == -1:
            self.step()
        else:
            self.last_epoch += 1
            self._set(self.resumed())

    def get_lr(self) -> list[float]:
        """Return each group's rate at step `last_epoch`, from the rates of now."""
        raise TypeError(f"{type(self).__name__} must say its rates")

    def get_last_lr(self) -> list[float]:
        """Return the rates set last."""
        return self._last_lr

    def rates(self) -> list[float]:
        """Return the rates of now."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def resumed(self) -> list[float]:
        """Return each group's rate where a run goes on at step `last_epoch`."""
        return self.get_lr()

    def step(self, epoch: int | None = None) -> None:
        """Take one step, or go to a step, to the rates there had no other schedule been stepped.

        Raises:
            ArgumentError: the step is below 0.
        """
        once()
        _check_step(epoch)
        if epoch is None:
            self.last_epoch += 1
            self._set(self.get_lr())
            return
        # Rates follow from the ones before: the way to a step leads through those.
        self._set(self.base_lrs)
        for self.last_epoch in range(epoch + 1):
            self._set(self.get_lr())

    def _set(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = list(rates)

    def _times(self, factor: float) -> list[float]:
        return [rate * factor for rate in self.rates()]

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer and functions, as plain data."""
        return {
            k: _plain(v)
            for k, v in self.__dict__.items()
            if k not in ("optimizer", "schedulers") and not callable(v)
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.__dict__.update(state_dict)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value


def _check(optimizer: Any, name: str) -> None:
    if not isinstance(optimizer, Optimizer):
        raise ArgumentError(
            f"{name}: schedules an optimizer.",
            came=type(optimizer).__name__,
            fix="pass the optimizer first",
        )


def _check_step(epoch: int | None) -> None:
    if epoch is not None and epoch < 0:
        raise ArgumentError(
            "LRScheduler.step: steps are counted from 0.",
            came=f"epoch={epoch}",
            fix="pass 0 to begin anew, or nothing to take one step",
        )


class Gradual(LRScheduler):
    """A schedule that moves at every step: where a run goes on, the rates found are the ones."""

    def resumed(self) -> list[float]:
        """Return the rates of now."""
        return self.rates()


class LambdaLR(LRScheduler):
    """lr_t = lr_0 f(t).

    Args:
        optimizer: Whose groups are scheduled.
        lr_lambda: f, or one for each group.
        last_epoch: Steps taken before.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        groups = len(optimizer.param_groups)
        lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        if len(lambdas) != groups:
            raise ArgumentError(
                "LambdaLR: there must be one function, or one for each group.",
                came=f"{len(lambdas)} functions for {groups} groups",
                fix="pass one function",
            )
        self.lr_lambdas = lambdas
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return lr_0 f(t)."""
        pairs = zip(self.base_lrs, self.lr_lambdas, strict=True)
        return [base * f(self.last_epoch) for base, f in pairs]

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer and the functions."""
        return {k: v for k, v in super().state_dict().items() if k != "lr_lambdas"}


class StepLR(LRScheduler):
    """lr_t = gamma lr_{t-1} every `step_size` steps.

    Args:
        optimizer: Whose groups are scheduled.
        step_size: Steps between changes.
        gamma: The factor.
        last_epoch: Steps taken before.
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates, times gamma where a period ends."""
        t = self.last_epoch
        return self._times(self.gamma if t and t % self.step_size == 0 else 1.0)


class MultiStepLR(LRScheduler):
    """lr_t = gamma lr_{t-1} at each milestone.

    Args:
        optimizer: Whose groups are scheduled.
        milestones: Steps at which the rate changes.
        gamma: The factor.
        last_epoch: Steps taken before.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates, times gamma at a milestone."""
        return self._times(self.gamma ** self.milestones[self.last_epoch])


class ConstantLR(LRScheduler):
    """lr_t = factor lr_0 for the first `total_iters` steps, then lr_0.

    Args:
        optimizer: Whose groups are scheduled.
        factor: The factor at first.
        total_iters: How long it stays.
        last_epoch: Steps taken before.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates, changed at the two ends."""
        if self.last_epoch == 0:
            return self._times(self.factor)
        return self._times(1.0 / self.factor if self.last_epoch == self.total_iters else 1.0)


class LinearLR(Gradual):
    """lr_t = lr_0 (start + (end - start) min(t, n) / n): a warm-up, as a rule.

    Args:
        optimizer: Whose groups are scheduled.
        start_factor: The factor at step 0, above 0.
        end_factor: The factor from step n on.
        total_iters: n.
        last_epoch: Steps taken before.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0.0 < start_factor <= 1.0 or not 0.0 <= end_factor <= 1.0:
            raise ArgumentError(
                "LinearLR: factors lie in [0, 1], and the first is above 0.",
                came=f"start_factor={start_factor}, end_factor={end_factor}",
                fix="raise the optimizer's lr instead",
            )
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates, times the ratio of two neighbouring factors."""
        t, n = self.last_epoch, self.total_iters
        if t == 0:
            return self._times(self.start_factor)
        if t > n:
            return self.rates()
        rise = self.end_factor - self.start_factor
        return self._times(1.0 + rise / (n * self.start_factor + (t - 1) * rise))


class ExponentialLR(Gradual):
    """lr_t = gamma lr_{t-1}.

    Args:
        optimizer: Whose groups are scheduled.
        gamma: The factor.
        last_epoch: Steps taken before.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates times gamma."""
        return self._times(self.gamma if self.last_epoch else 1.0)


class PolynomialLR(Gradual):
    """lr_t = lr_0 (1 - min(t, n) / n)^power.

    Args:
        optimizer: Whose groups are scheduled.
        total_iters: n.
        power: The exponent.
        last_epoch: Steps taken before.
    """

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates, times the ratio of two neighbouring factors."""
        t, n = self.last_epoch, self.total_iters
        if t == 0 or t > n:
            return self.rates()
        return self._times(((1.0 - t / n) / (1.0 - (t - 1) / n)) ** self.power)


class CosineAnnealingLR(Gradual):
    """lr_t = eta_min + (lr_0 - eta_min) (1 + cos(pi t / T_max)) / 2.

    Args:
        optimizer: Whose groups are scheduled.
        T_max: Steps from the highest rate to the lowest.
        eta_min: The lowest rate.
        last_epoch: Steps taken before.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates, moved along the cosine from where they are."""
        t, period, low = self.last_epoch, self.T_max, self.eta_min
        if t == 0:
            return self.rates()
        if (t - 1 - period) % (2 * period) == 0:
            rise = (1.0 - math.cos(math.pi / period)) / 2.0
            return [
                rate + (base - low) * rise
                for base, rate in zip(self.base_lrs, self.rates(), strict=True)
            ]
        now, before = math.cos(math.pi * t / period), math.cos(math.pi * (t - 1) / period)
        return [(1.0 + now) / (1.0 + before) * (rate - low) + low for rate in self.rates()]


class CosineAnnealingWarmRestarts(LRScheduler):
    """The cosine of `CosineAnnealingLR`, begun anew after T_0, T_0 T_mult, ... steps.

    Args:
        optimizer: Whose groups are scheduled.
        T_0: Steps of the first run.
        T_mult: How much longer each run is than the one before.
        eta_min: The lowest rate.
        last_epoch: Steps taken before.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if T_0 < 1 or T_mult < 1:
            raise ArgumentError(
                "CosineAnnealingWarmRestarts: T_0 and T_mult are at least 1.",
                came=f"T_0={T_0}, T_mult={T_mult}",
                fix="e.g. T_0=10, T_mult=2",
            )
        self.T_0 = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates of the closed form."""
        t, period = self.last_epoch, self.T_0
        while t >= period:
            t -= period
            period *= self.T_mult
        share = (1.0 + math.cos(math.pi * t / period)) / 2.0
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]


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
        _check(optimizer, "OneCycleLR")
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
            "OneCycleLR: the optimizer must have momentum or betas.",
            came=f"options {sorted(group)}",
            fix="pass cycle_momentum=False",
        )


class SequentialLR(LRScheduler):
    """One schedule after another, e.g. a warm-up and then a cosine.

    Args:
        optimizer: Whose groups are scheduled.
        schedulers: The schedules, all of that optimizer.
        milestones: Steps at which the next one begins.
        last_epoch: Steps taken before.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        if len(milestones) != len(schedulers) - 1:
            raise ArgumentError(
                "SequentialLR: there must be a milestone between every two schedules.",
                came=f"{len(schedulers)} schedules, {len(milestones)} milestones",
                fix="give one milestone fewer than schedules",
            )
        self.schedulers = list(schedulers)
        self.milestones = list(milestones)
        self.optimizer = optimizer
        self.last_epoch = last_epoch + 1
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for scheduler in self.schedulers:
            scheduler.last_epoch -= 1
        self.schedulers[0].step()
        self._last_lr = self.schedulers[0].get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        """Take one step of the schedule whose turn it is.

        Raises:
            ArgumentError: the step is below 0.
        """
        _check_step(epoch)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        at = bisect_right(self.milestones, self.last_epoch)
        scheduler = self.schedulers[at]
        if at and self.milestones[at - 1] == self.last_epoch:
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"]
            scheduler.step(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every schedule, and which one's turn it is."""
        state = super().state_dict()
        state["schedulers"] = [s.state_dict() for s in self.schedulers]
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "schedulers"})
        for scheduler, state in zip(self.schedulers, state_dict["schedulers"], strict=True):
            scheduler.load_state_dict(state)


class ReduceLROnPlateau(LRScheduler):
    """Lower the rate when a metric has stopped getting better.

    Args:
        optimizer: Whose groups are scheduled.
        mode: "min" if less is better, "max" if more.
        factor: What the rate is multiplied by, below 1.
        patience: Steps without a better value that are borne.
        threshold: How much better counts.
        threshold_mode: "rel", a share of the best value, or "abs".
        cooldown: Steps after a change that do not count.
        min_lr: The lowest rate, or one for each group.
        eps: Smaller changes are not made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        _check(optimizer, "ReduceLROnPlateau")
        if factor >= 1.0 or mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ArgumentError(
                "ReduceLROnPlateau: factor is below 1, mode min or max, threshold_mode rel or abs.",
                came=f"factor={factor}, mode={mode!r}, threshold_mode={threshold_mode!r}",
                fix="e.g. factor=0.1, mode='min'",
            )
        self.optimizer = optimizer
        groups = len(optimizer.param_groups)
        self.min_lrs = [min_lr] * groups if isinstance(min_lr, (int, float)) else list(min_lr)
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.eps = eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self.last_epoch = 0
        self._last_lr = self.rates()

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Take in the metric's value; lower the rate if it has not been better for too long."""
        once()
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        value = float(metrics)
        if self.is_better(value, self.best):
            self.best = value
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            rates = self.rates()
            lower = [max(r * self.factor, m) for r, m in zip(rates, self.min_lrs, strict=True)]
            self._set([n if r - n > self.eps else r for r, n in zip(rates, lower, strict=True)])
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = self.rates()

    def is_better(self, value: float, best: float) -> bool:
        """Tell whether a value is better than the best by more than the threshold."""
        sign = 1.0 if self.mode == "min" else -1.0
        margin = self.threshold * abs(best) if self.threshold_mode == "rel" else self.threshold
        if math.isinf(best):
            return sign * value < sign * best
        return sign * value < sign * best - margin
