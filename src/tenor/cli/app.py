"""The commands and their options; what each does stands in its own module, imported on use."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tenor.cli.console import guarded, out, settings

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["app", "main"]

PATH = click.Path(path_type=Path)


def installed_version() -> str:
    """Return Tenor's version."""
    try:
        return version("tenor")
    except PackageNotFoundError:
        from tenor import __version__  # noqa: PLC0415 - only from a source tree

        return __version__


def _print_version(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if asked:
        out.print(f"tenor {installed_version()}")
        context.exit()


@click.group(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--traceback", is_flag=True, help="Show Python's traceback of a failure.")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
    help="Print the version and exit.",
)  # fmt: skip
def app(traceback: bool) -> None:
    """Train, save, serve and look into models."""
    settings.traceback = traceback


def command(function: Callable[..., int]) -> click.Command:
    """Make a function a command of the same name, which ends with the status it returns."""
    return app.command()(guarded(function))


def model(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument that names a saved model."""
    return click.argument("model", metavar="MODEL.tnr", type=PATH)(function)


def eight_bits(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that ask for eight bits."""
    methods = click.Choice(["minmax", "percentile", "entropy"])
    rows = click.option("--rows", metavar="FILE", help="With --int8: rows to find ranges with.")
    return click.option(
        "--int8", type=methods, flag_value="minmax", is_flag=False,
        help="In eight bits, ranges found so.",
    )(rows(function))  # fmt: skip


@command
@click.option(
    "--out", "out_dir", metavar="DIR", type=PATH, default=Path("demo_out"), show_default=True,
    help="Where everything it makes is put.",
)  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the training images.")
def demo(out_dir: Path, epochs: int | None) -> int:
    """Train a digit classifier, save it, serve it over HTTP and check its answers."""
    from tenor.cli.demo import demo as run  # noqa: PLC0415

    return run(out_dir, epochs)


@command
@click.argument("models", metavar="MODEL.tnr...", nargs=-1, required=True, type=PATH)
@click.option(
    "--host", default="127.0.0.1", show_default=True,
    help="The address to listen on; 0.0.0.0 for all of them.",
)  # fmt: skip
@click.option(
    "--port", type=int, default=8501, show_default=True, help="The port; 0 takes a free one."
)
@click.option("--name", help="The name in URLs, instead of the model's own.")
@click.option(
    "--drain", type=click.FloatRange(min=0), default=0.0, show_default=True,
    help="Seconds to go on answering, not ready, before a stop.",
)  # fmt: skip
@click.option(
    "--log-level", default="info", show_default=True, help="debug, info, warning or error."
)
def serve(
    models: tuple[Path, ...], host: str, port: int, name: str | None, drain: float, log_level: str
) -> int:
    """Answer HTTP requests with saved models, until interrupted.

    Speaks TensorFlow Serving's REST format and the Open Inference Protocol v2.
    """
    from tenor.cli.serve import serve as run  # noqa: PLC0415

    return run(models, host=host, port=port, name=name, drain=drain, log_level=log_level)


@command
@model
@click.argument("given", metavar="INPUT")
@click.option("--signature", help="What to ask; by default predict, or the only one.")
@click.option(
    "--out", "to", metavar="FILE", type=PATH, help="Write a .npy, .npz, .json or .csv file."
)
def predict(model: Path, given: str, signature: str | None, to: Path | None) -> int:
    """Run a saved model on the values in a file; by default the answer is JSON.

    INPUT is a .npy, .npz, .json or .csv file; - is JSON from standard input.
    """
    from tenor.cli.predict import predict as run  # noqa: PLC0415

    return run(model, given, signature, to)


@command
@model
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.option("--program", metavar="SIGNATURE", help="Print a signature's program instead.")
def inspect(model: Path, as_json: bool, program: str | None) -> int:
    """Show what a saved model is, without running it."""
    from tenor.cli.inspect import inspect as run  # noqa: PLC0415

    return run(model, as_json=as_json, program=program)


@command
@model
def verify(model: Path) -> int:
    """Run the examples saved with a model again and compare every bit."""
    from tenor.cli.verify import verify as run  # noqa: PLC0415

    return run(model)


@command
@model
@click.option(
    "--to", required=True, type=click.Choice(["web", "edge", "onnx", "tflite"]),
    help="What for: a folder for browsers, code for a device, or another runtime's file.",
)  # fmt: skip
@click.option("--out", metavar="PATH", type=PATH, help="Where to; by default beside the model.")
@click.option("--signature", help="What of the model; by default predict, or the only one.")
@click.option("--batch", type=click.IntRange(min=1), help="Rows at a time.")
@click.option("--target", help="edge: the machine, e.g. native, aarch64-linux or cortex-m4.")
@click.option(
    "--form", type=click.Choice(["object", "c", "shared"]),
    help="edge: an object file, C99, or a library.",
)  # fmt: skip
@click.option(
    "--weights", help="web: f32, f16 or int8; edge: bin or array; tflite: float32 or int8."
)
@click.option("--gpu", is_flag=True, default=None, help="web: for WebGPU too.")
@click.option("--train", is_flag=True, default=None, help="web: with the training step.")
@click.option("--loss", help="With --train: a loss by name, e.g. cross_entropy.")
@click.option("--optimizer", help="With --train: sgd, adam, adamw or rmsprop.")
@click.option("--lr", type=float, help="With --train: the learning rate.")
@eight_bits
@click.option("--report", metavar="PAGE.html", type=PATH, help="With --int8: what it costs.")
def export(model: Path, out: Path | None, **wishes: Any) -> int:
    """Write a saved model as files that run without Tenor."""
    from tenor.cli.export import Wishes  # noqa: PLC0415
    from tenor.cli.export import export as run  # noqa: PLC0415

    return run(model, out, Wishes(**wishes))


@command
@model
@click.option(
    "--target", "targets", multiple=True, default=["x86_64-linux"], show_default=True,
    help="A machine, e.g. aarch64-linux or cortex-m4; may be given several times.",
)  # fmt: skip
@eight_bits
@click.option("--signature", help="What of the model; by default predict, or the only one.")
@click.option(
    "--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Rows at a time."
)
def benchmark(model: Path, targets: tuple[str, ...], **wishes: Any) -> int:
    """Show what a saved model takes on machines: code, weights, memory, and time if it runs here.

    Time is of one thread, and is taken on this machine, or in QEMU's user mode where that is
    installed.
    """
    from tenor.cli.benchmark import benchmark as run  # noqa: PLC0415

    return run(model, targets, **wishes)


@command
@click.argument("script", metavar="SCRIPT.py", type=PATH)
@click.argument("arguments", metavar="[-- ARGS...]", nargs=-1)
@click.option("--html", metavar="PAGE.html", type=PATH, help="Write everything as one page.")
@click.option("--stage", help="source, graph, passes, kernels, loops, ir or asm.")
@click.option("--program", metavar="N", type=click.IntRange(min=1), help="Show program N alone.")
@click.option(
    "--measure/--no-measure", default=True, show_default=True,
    help="Run each kernel again for its time.",
)  # fmt: skip
def explain(
    script: Path, arguments: tuple[str, ...], html: Path | None, stage: str | None,
    program: int | None, measure: bool,
) -> int:  # fmt: skip
    """Run a script and show what it became: graphs, kernels, loops, LLVM IR, machine code.

    The script's own arguments stand after --.
    """
    from tenor.cli.explain import explain as run  # noqa: PLC0415

    return run(script, list(arguments), html=html, stage=stage, program=program, measure=measure)


@command
def doctor() -> int:
    """Check this installation and say what it runs on."""
    from tenor.cli.doctor import doctor as run  # noqa: PLC0415

    return run()


def main() -> None:
    """Run the command line."""
    app(prog_name="tenor")
