"""The steps of a model's life, each with what has to hold."""

from __future__ import annotations

import contextlib
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.data import load_digits
from tenor.demo.events import forget, missing
from tenor.demo.network import digit_network
from tenor.demo.process import serving, verify_afresh
from tenor.demo.requests import PROTOCOLS, instances
from tenor.demo.training import EPOCHS, train
from tenor.errors import TenorError
from tenor.export.web import export_web
from tenor.save import load_model, replace_file, save
from tenor.tensor import tensor
from tenor.tensor.modes import no_grad
from tenor.tensor.random import manual_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from tenor.nn import Module

    Array = NDArray[Any]

__all__ = ["Check", "Outcome", "live"]

SEED: Final = 7
ACCURACY: Final = 0.97
"""What the model has to reach on images it has not seen."""
ASKED: Final = 32
"""How many held-out images are sent to the server."""

RATE: Final = 3e-3
"""The learning rate of the page."""
WEB: Final = ("index.html", "model.js", "model.relaxed.wasm", "model.simd.wasm", "weights.bin")


@dataclass(frozen=True)
class Check:
    """Something that had to hold: what, whether it did, and what was found."""

    what: str
    held: bool
    found: str


@dataclass
class Outcome:
    """What the demo made and found.

    Attributes:
        directory: Where everything is.
        model: The model file.
        events: The directory of TensorBoard event files.
        request: A request body to send by hand.
        web: A folder that runs the model in a browser.
        digit: The digit the request's image shows.
        accuracy: On the held-out images.
        train_seconds: How long training took, compilation included.
        seconds: How long everything took.
        checks: Everything that had to hold.
    """

    directory: Path
    model: Path
    events: Path
    request: Path
    web: Path
    digit: int = 0
    accuracy: float = 0.0
    train_seconds: float = 0.0
    seconds: float = 0.0
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything held."""
        return bool(self.checks) and all(check.held for check in self.checks)


def live(
    directory: Path, say: Callable[[str], None], *, epochs: int | None = None, bar: bool = True
) -> Outcome:
    """Train, save, verify, serve, ask and export a digit classifier, all in one directory.

    Args:
        directory: Made where it does not exist.
        say: Called with a line for each step begun and each thing found.
        epochs: Passes over the training images.
        bar: Whether training shows a progress bar.
    """
    directory.mkdir(parents=True, exist_ok=True)
    outcome = Outcome(
        directory, directory / "digits.tnr", directory / "tensorboard",
        directory / "request.json", directory / "web",
    )  # fmt: skip
    start = time.perf_counter()
    # A step that fails leaves nothing for the next to stand on.
    with _failing(outcome):
        _all(outcome, say, epochs or EPOCHS, bar)
    outcome.seconds = time.perf_counter() - start
    return outcome


@contextlib.contextmanager
def _failing(outcome: Outcome) -> Iterator[None]:
    try:
        yield
    except TenorError as error:  # its line of the user's would be the command line's
        found = "\n".join([error.wanted, *error.came, error.fix]).rstrip()
        outcome.checks.append(Check("every step can be done", False, found))
    except (OSError, subprocess.TimeoutExpired) as error:
        outcome.checks.append(Check("every step can be done", False, str(error)))


def _all(outcome: Outcome, say: Callable[[str], None], epochs: int, bar: bool) -> None:
    def check(what: str, held: bool, found: str) -> None:
        outcome.checks.append(Check(what, held, found))
        say(f"{'ok' if held else 'FAILED'}: {what}: {found}")

    x_train, y_train, x_test, y_test = load_digits()
    say(f"1  UCI handwritten digits: {len(x_train)} images to learn from, {len(x_test)} held out")

    say(f"2  training {epochs} epochs; event files go to {outcome.events}")
    manual_seed(SEED)
    network = digit_network()
    begun = time.perf_counter()
    forget(outcome.events)
    train(network, (x_train, y_train), (x_test, y_test), outcome.events, epochs, bar)
    outcome.train_seconds = time.perf_counter() - begun
    answers = _answers(network, x_test)
    outcome.accuracy = float((answers.argmax(1) == y_test).mean())
    found = f"{outcome.accuracy:.2%} of {len(x_test)} in {outcome.train_seconds:.1f} s"
    check(f"at least {ACCURACY:.0%} of the held-out images are right", outcome.accuracy >= ACCURACY,
          found)  # fmt: skip

    say(f"3  reading {outcome.events} with TensorBoard's own reader")
    lacking = missing(outcome.events / "train")
    check("it shows loss, accuracy, learning rate, weights and sample images", not lacking,
          f"no {', '.join(lacking)}" if lacking else "all of them")  # fmt: skip

    say(f"4  saving {outcome.model}")
    save(
        network, outcome.model, example_inputs=x_test[:16], name="digits",
        description="Logits of the ten digits for 8 x 8 images, from 0 (white) to 1 (black).",
    )  # fmt: skip
    check("its examples hold in a fresh process", *verify_afresh(outcome.model))

    say("5  serving it from another process")
    _ask(outcome, network, x_test[-ASKED:], check)
    say(f"6  writing {outcome.web}, a page that runs the model, and trains it, in a browser")
    made = export_web(
        outcome.model, outcome.web, train=True, loss="cross_entropy", optimizer="adam", lr=RATE
    )
    check("the page and what it runs are written", set(WEB) <= made.files.keys(),
          f"{len(made.files)} files of {sum(made.files.values()) / 1000:.0f} kB")  # fmt: skip
    # An image it gets right, so that who sends the request sees the digit.
    right = int(np.argmax(answers.argmax(1) == y_test))
    outcome.digit = int(y_test[right])
    replace_file(outcome.request, [instances(x_test[right : right + 1]) + b"\n"])


def _answers(network: Module, images: Array) -> Array:
    """Return the network's own logits."""
    network.eval()
    with no_grad():
        return np.asarray(network(tensor(images)).numpy()).copy()


def _ask(
    outcome: Outcome, network: Module, images: Array, check: Callable[[str, bool, str], None]
) -> None:
    """Send held-out images the model file has no example of; compare every bit of the answers."""
    wanted = {len(part): _answers(network, part) for part in (images, images[:1])}
    loaded = load_model(outcome.model)
    given = loaded.signatures["predict"].inputs[0].name
    came = {n: next(iter(loaded.run("predict", {given: images[:n]}).values())) for n in wanted}
    check("the loaded model answers as the trained one, bit for bit",
          all(came[n].tobytes() == wanted[n].tobytes() for n in wanted),
          f"batches of {' and '.join(map(str, wanted))}")  # fmt: skip
    with serving(outcome.model, outcome.directory / "server.log") as server:
        for protocol, ask in PROTOCOLS.items():
            for n, answer in wanted.items():
                same = _same(ask(server.url, loaded.name, images[:n]), answer)
                check(f"{protocol}: answers are the in-process ones, bit for bit", *same)
    check("the server stops gracefully", server.status == 0, f"exit status {server.status}")


def _same(came: Array, wanted: Array) -> tuple[bool, str]:
    """Tell whether two arrays have the same bits, and how many elements do."""
    if came.shape != wanted.shape:
        return False, f"shape {list(came.shape)}, not {list(wanted.shape)}"
    equal = came.view(np.uint32) == wanted.view(np.uint32)
    return bool(equal.all()), f"{int(equal.sum())} of {equal.size} numbers, batch of {len(came)}"
