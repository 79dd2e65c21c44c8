"""bf16 and int8 beside f32: time, bytes and error of `nn.Linear`, and of a trained network.

Every library and
every format is timed in turns in one process on one thread, in CPU time, so that all meet the same
machine. Errors are those of the result, inputs and weights rounded as the format has it, beside
the float32 values' product in float64.
"""

from __future__ import annotations

import contextlib
import copy
import statistics
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.table import Table
from workloads import networks

import tenor as tn

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Work = Callable[[], Any]

__all__ = ["Row", "measure", "table"]

LINEAR = ((1, 4096, 4096), (8, 1024, 1024), (128, 768, 3072), (1024, 1024, 1024))
"""Rows, features in, features out."""
FORMATS = ("f32", "bf16", "int8")
BATCHES = (1, 32, 360)
"""Images at a time of the trained network."""


@dataclass(frozen=True)
class Row:
    """One format of one case.

    Attributes:
        case: What was computed.
        format: "f32", "bf16" or "int8".
        seconds: Median time of a call.
        faster: f32's time over this one's.
        torch_f32: PyTorch's f32 time over this one's.
        torch_same: PyTorch's time in the same format over this one's; None where it has none.
        held: Bytes of the parameters and buffers.
        largest: The largest error, over the largest result.
        rms: The root mean square of the errors, over that of the results.
        accuracy: Of the trained network on the images held out.
    """

    case: str
    format: str
    seconds: float
    faster: float
    torch_f32: float
    torch_same: float | None
    held: int
    largest: float
    rms: float
    accuracy: float | None = None


# -- the formats --------------------------------------------------------------------------------
def formats(model: Any) -> dict[str, Any]:
    """Return a Tenor model in each format."""
    return {
        "f32": model,
        "bf16": copy.deepcopy(model).to(tn.bfloat16),
        "int8": tn.quantization.quantize_dynamic(model, {tn.nn.Linear}, dtype=tn.int8),
    }


def torchs(model: Any) -> dict[str, Any]:
    """Return a PyTorch model in each format it can take on this machine."""
    found = {"f32": model, "bf16": copy.deepcopy(model).to(torch.bfloat16)}
    with warnings.catch_warnings(), contextlib.suppress(RuntimeError):
        warnings.simplefilter("ignore")
        found["int8"] = torch.ao.quantization.quantize_dynamic(
            model, {torch.nn.Linear}, dtype=torch.qint8
        )
    return found


def held(model: Any) -> int:
    """Return the bytes of a Tenor model's state."""
    return sum(v.numel() * v.element_size() for v in model.state_dict().values())


def _work(lib: Any, model: Any, x: Any) -> Work:
    def run() -> Any:
        with lib.no_grad():
            y = model(x)
            return y.float().numpy() if y.dtype is lib.bfloat16 else y.numpy()

    return run


# -- timing -------------------------------------------------------------------------------------
def timed(works: dict[str, Work], rounds: int, budget: float) -> dict[str, float]:
    """Return the median CPU seconds of each, called in turns."""
    for work in works.values():
        for _ in range(3):
            work()
    counts = {name: max(1, int(0.002 / max(_once(work, 2), 1e-7))) for name, work in works.items()}
    samples: dict[str, list[float]] = {name: [] for name in works}
    end = time.perf_counter() + budget
    for i in range(rounds):
        if time.perf_counter() > end and i >= 5:
            break
        for name, work in works.items():
            samples[name].append(_once(work, counts[name]))
    return {name: statistics.median(found) for name, found in samples.items()}


def _once(work: Work, count: int) -> float:
    start = time.thread_time()
    for _ in range(count):
        work()
    return (time.thread_time() - start) / count


@contextlib.contextmanager
def one_thread() -> Any:
    """Give both libraries one thread for a while."""
    before = tn.get_num_threads(), torch.get_num_threads()
    tn.set_num_threads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        tn.set_num_threads(before[0])
        torch.set_num_threads(before[1])


# -- the cases ----------------------------------------------------------------------------------
def _rows(
    case: str, models: tuple[Any, Any], x: NDArray[Any], exact: NDArray[Any], rounds: int,
    budget: float, right: Callable[[NDArray[Any]], float] | None = None,
) -> list[Row]:  # fmt: skip
    ours, theirs = formats(models[0]), torchs(models[1])
    works = {}
    for lib, held_models in ((tn, ours), (torch, theirs)):
        for name, model in held_models.items():
            given = lib.tensor(x)
            if name == "bf16" and given.is_floating_point():
                given = given.to(lib.bfloat16)
            works[f"{lib.__name__} {name}"] = _work(lib, model, given)
    times = timed(works, rounds, budget)
    rows = []
    for name in FORMATS:
        found = works[f"tenor {name}"]().astype(np.float64)
        off, seconds = found - exact, times[f"tenor {name}"]
        same = times.get(f"torch {name}")
        rows.append(
            Row(
                case, name, seconds, times["tenor f32"] / seconds, times["torch f32"] / seconds,
                None if same is None else same / seconds, held(ours[name]),
                float(np.abs(off).max() / np.abs(exact).max()),
                float(np.sqrt((off**2).mean() / (exact**2).mean())),
                None if right is None else right(found),
            )
        )  # fmt: skip
    return rows


def _twins(sizes: tuple[int, ...]) -> tuple[Any, Any]:
    """Return a Tenor network and PyTorch's of the same weights."""
    made = []
    for lib in (tn, torch):
        layers: list[Any] = []
        for i in range(len(sizes) - 1):
            layers += [lib.nn.ReLU()] * bool(i) + [lib.nn.Linear(sizes[i], sizes[i + 1])]
        made.append(lib.nn.Sequential(*layers))
    return _alike(*made)


def _alike(ours: Any, theirs: Any) -> tuple[Any, Any]:
    state = {k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()}
    theirs.load_state_dict(state)
    return ours, theirs


def linear(m: int, k: int, n: int, rounds: int, budget: float) -> list[Row]:
    """Return the rows of one `nn.Linear`."""
    models = _twins((k, n))
    x = np.random.default_rng(0).standard_normal((m, k)).astype(np.float32)
    weight, bias = (v.numpy().astype(np.float64) for v in models[0].state_dict().values())
    exact = x.astype(np.float64) @ weight.T + bias
    return _rows(f"{m} x {k} x {n}", models, x, exact, rounds, budget)


def digits(rounds: int, budget: float) -> list[Row]:
    """Return the rows of 784-512-512-10, trained on the digits that come with Tenor."""
    tn.manual_seed(0)
    learn, labels, x, y = tn.data.load_digits()
    learn, x = (_enlarged(a) for a in (learn, x))
    ours, theirs = _twins((784, 512, 512, 10))
    _train(ours, learn, labels)
    models = _alike(ours, theirs)
    exact = x.astype(np.float64)
    every = [v.numpy().astype(np.float64) for v in ours.state_dict().values()]
    for i in range(0, len(every), 2):
        exact = (np.maximum(exact, 0) if i else exact) @ every[i].T + every[i + 1]
    rows = []
    for count in BATCHES:
        part, wanted = x[:count], y[:count]

        def right(found: NDArray[Any], wanted: NDArray[Any] = wanted) -> float:
            return float((found.argmax(1) == wanted).mean())

        rows += _rows(f"digits, batch {count}", models, part, exact[:count], rounds, budget,
                      right if count == BATCHES[-1] else None)  # fmt: skip
    return rows


def encoder(rounds: int, budget: float) -> list[Row]:
    """Return the rows of a transformer encoder of 6 layers of 384 on 128 tokens, with new weights.

    Of PyTorch's and Tenor's formats alike only the linear layers are int8.
    """
    tn.manual_seed(0)
    models = _alike(networks.encoder(tn).eval(), networks.encoder(torch).eval())
    rows = []
    for count in (1, 4):
        x = np.random.default_rng(0).integers(0, 8_192, (count, 128))
        with tn.no_grad():
            exact = copy.deepcopy(models[0]).double()(tn.tensor(x)).numpy()
        rows += _rows(f"encoder, batch {count}", models, x, exact, rounds, budget)
    return rows


def _enlarged(images: NDArray[Any]) -> NDArray[Any]:
    made = tn.nn.functional.interpolate(tn.tensor(images), size=(28, 28), mode="bilinear")
    return np.asarray(made.flatten(1).numpy())


def _train(model: Any, x: NDArray[Any], y: NDArray[Any]) -> None:
    data = tn.data.TensorDataset(tn.tensor(x), tn.tensor(y))
    loader = tn.data.DataLoader(data, batch_size=64, shuffle=True, drop_last=True)
    trained = tn.Model(model)
    trained.compile(tn.optim.AdamW(model.parameters(), lr=1e-3), "cross_entropy")
    trained.fit(loader, epochs=8, verbose=0)


def measure(rounds: int = 41, budget: float = 6.0) -> list[Row]:
    """Return the rows of every case, timed for at most `budget` seconds each."""
    with one_thread():
        found = [row for size in LINEAR for row in linear(*size, rounds, budget)]
        return found + digits(rounds, budget) + encoder(rounds, budget)


def table(rows: list[Row]) -> Table:
    """Return the rows as they are printed."""
    made = Table(title="Fewer bits, one thread")
    for name in ("case", "format", "time", "f32 / it", "torch f32 / it", "torch same / it",
                 "bytes", "max error", "rms error", "accuracy"):  # fmt: skip
        made.add_column(name, justify="left" if name in ("case", "format") else "right")
    for row in rows:
        made.add_row(
            row.case, row.format, f"{row.seconds * 1e6:.0f} us", f"{row.faster:.2f}",
            f"{row.torch_f32:.2f}", "" if row.torch_same is None else f"{row.torch_same:.2f}",
            f"{row.held / 1e6:.2f} MB", f"{row.largest:.1e}", f"{row.rms:.1e}",
            "" if row.accuracy is None else f"{row.accuracy:.3f}",
        )  # fmt: skip
    return made
