"""What Tenor and PyTorch share: the same names, so one text serves both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from workloads import weights
from workloads.inference import Inference
from workloads.training import Training

from peers import Session

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["answering", "arrays_of", "kernel", "network_of", "training"]

FIRST = 3
"""Steps whose losses are compared."""


def arrays_of(lib: Any, row: Any) -> list[Any]:
    """Return a workload's batch as the library's tensors."""
    return [lib.tensor(a) for a in row.data(np.random.default_rng(0))]


def network_of(lib: Any, row: Any) -> Any:
    """Return a workload's module with the weights every library begins with."""
    module = row.network(lib)
    weights.load(lib, module)
    return module


def training(
    lib: Any, row: Training, wrap: Callable[[Any], Any] = lambda f: f, **more: Any
) -> Session:
    """Return forward, backward and optimizer as a training loop writes them.

    Args:
        wrap: Applied to the loss of the batch and to the optimizer's step; compiles them.
        more: Further arguments of the optimizer.
    """
    model = network_of(lib, row)
    *inputs, labels = arrays_of(lib, row)
    name, arguments = row.optimizer
    optimizer = getattr(lib.optim, name)(model.parameters(), **arguments, **more)
    criterion = lib.nn.CrossEntropyLoss()
    loss_of = wrap(lambda *batch: criterion(model(*batch[:-1]), batch[-1]))
    advance = wrap(optimizer.step)
    losses: list[float] = []

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of(*inputs, labels)
        loss.backward()
        advance()
        value = float(loss.item())
        if len(losses) < FIRST:
            losses.append(value)
        return value

    return Session(step, lambda: np.array(losses))


def answering(
    lib: Any, row: Inference, force: Callable[[Any], np.ndarray],
    wrap: Callable[[Any], Any] = lambda f: f,
) -> Session:  # fmt: skip
    """Return a request's answer; a decoder's caches go round from call to call."""
    model = wrap(network_of(lib, row).eval())
    given = arrays_of(lib, row)
    fixed = len(given) - row.carried
    first: list[np.ndarray] = []

    def step() -> np.ndarray:
        with lib.no_grad():
            found = model(*given)
        answer, *carried = found if row.carried else (found,)
        given[fixed:] = carried
        value = force(answer)
        if not first:
            first.append(np.array(value, np.float64).ravel())
        return value

    return Session(step, lambda: first[0])


def kernel(lib: Any, row: Any) -> Session:
    """Return one kernel's work; it forces its results itself."""
    work = row.make(lib)
    first: list[np.ndarray] = []

    def step() -> Any:
        found = work()
        if not first:
            value = found[0] if isinstance(found[0], np.ndarray) else found[0].detach().numpy()
            first.append(np.array(value, np.float64).ravel()[:4096])
        return found

    return Session(step, lambda: first[0])
