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
from tenor.optim.cycle import CyclicLR, OneCycleLR
from tenor.optim.schedule import Gradual, LRScheduler, check, check_step, for_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tenor.optim.optimizer import Optimizer

__all__ = [
    "ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts",
    "CyclicLR", "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR",
    "MultiplicativeLR", "OneCycleLR", "PolynomialLR", "ReduceLROnPlateau", "SequentialLR", "StepLR",
]  # fmt: skip


class ByFunction(LRScheduler):
    """A schedule by functions of the step, one for each group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = for_groups(type(self).__name__, lr_lambda, optimizer)
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer and the functions."""
        return {k: v for k, v in super().state_dict().items() if k != "lr_lambdas"}


class LambdaLR(ByFunction):
    """lr_t = lr_0 f(t).

    Args:
        optimizer: Whose groups are scheduled.
        lr_lambda: f, or one for each group.
        last_epoch: Steps taken before.
    """

    def get_lr(self) -> list[float]:
        """Return lr_0 f(t)."""
        pairs = zip(self.base_lrs, self.lr_lambdas, strict=True)
        return [base * f(self.last_epoch) for base, f in pairs]


class MultiplicativeLR(ByFunction, Gradual):
    """lr_t = lr_{t-1} f(t).

    Args:
        optimizer: Whose groups are scheduled.
        lr_lambda: f, or one for each group.
        last_epoch: Steps taken before.
    """

    def get_lr(self) -> list[float]:
        """Return the rates times f(t)."""
        if self.last_epoch == 0:
            return self.rates()
        pairs = zip(self.rates(), self.lr_lambdas, strict=True)
        return [rate * f(self.last_epoch) for rate, f in pairs]


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


class Combined(LRScheduler):
    """A schedule made of others, whose states are part of its own."""

    schedulers: list[LRScheduler]

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every schedule, and of what is kept beside."""
        state = super().state_dict()
        state["schedulers"] = [s.state_dict() for s in self.schedulers]
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "schedulers"})
        for scheduler, state in zip(self.schedulers, state_dict["schedulers"], strict=True):
            scheduler.load_state_dict(state)


class SequentialLR(Combined):
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
        check_step(epoch)
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


class ChainedScheduler(Combined):
    """Several schedules stepped together, each multiplying what the others have made.

    Args:
        schedulers: The schedules, all of one optimizer.
        optimizer: That optimizer.

    Raises:
        ArgumentError: there is none, they are of several optimizers, or one waits for a metric.

    Example:
        >>> import tenor as tn
        >>> sgd = tn.optim.SGD([tn.ones(1, requires_grad=True)], lr=1.0)
        >>> chained = ChainedScheduler([StepLR(sgd, 1, 0.5), ConstantLR(sgd, 0.5, 2)])
        >>> chained.step()
        >>> chained.get_last_lr()
        [0.25]
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        self.schedulers = list(schedulers)
        owners = [getattr(s, "optimizer", None) for s in self.schedulers]
        wanted = owners[0] if owners and optimizer is None else optimizer
        waits = any(isinstance(s, ReduceLROnPlateau) for s in self.schedulers)
        if not owners or waits or wanted is None or any(o is not wanted for o in owners):
            raise ArgumentError(
                "ChainedScheduler: chains schedules of one optimizer that need no metric.",
                came=[type(s).__name__ for s in self.schedulers] or "no schedule",
                fix="make all of them with the same optimizer; step ReduceLROnPlateau by itself",
            )
        self.optimizer = wanted
        self._last_lr = self.rates()

    def step(self) -> None:  # type: ignore[override]
        """Take one step of every schedule."""
        for scheduler in self.schedulers:
            scheduler.step()
        self._last_lr = self.rates()


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
        check(optimizer, "ReduceLROnPlateau")
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
