"""The base of the schedules: what they share, whatever the rates are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.engine.pin import once
from tenor.errors import ArgumentError
from tenor.optim.optimizer import Optimizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Gradual", "LRScheduler", "check", "check_step", "for_groups"]


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
        check(optimizer, type(self).__name__)
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
        check_step(epoch)
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


def check(optimizer: Any, name: str) -> None:
    """Refuse to schedule what is no optimizer.

    Raises:
        ArgumentError: it is none.
    """
    if not isinstance(optimizer, Optimizer):
        raise ArgumentError(
            f"{name}: schedules an optimizer.",
            came=type(optimizer).__name__,
            fix="pass the optimizer first",
        )


class Gradual(LRScheduler):
    """A schedule that moves at every step: where a run goes on, the rates found are the ones."""

    def resumed(self) -> list[float]:
        """Return the rates of now."""
        return self.rates()


def for_groups(name: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """Return one value for each group, from one for all or one for each.

    Raises:
        ArgumentError: there are several, but not one for each group.
    """
    check(optimizer, name)
    groups = len(optimizer.param_groups)
    values = list(value) if isinstance(value, (list, tuple)) else [value] * groups
    if len(values) != groups:
        raise ArgumentError(
            f"{name}: there must be one value for all groups, or one for each.",
            came=f"{len(values)} values for {groups} groups",
            fix="pass one value",
        )
    return values


def check_step(epoch: int | None) -> None:
    """Refuse a step below 0."""
    if epoch is not None and epoch < 0:
        raise ArgumentError(
            "LRScheduler.step: steps are counted from 0.",
            came=f"epoch={epoch}",
            fix="pass 0 to begin anew, or nothing to take one step",
        )
