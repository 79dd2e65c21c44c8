"""The commands and their options; what each does stands in its own module, imported on use."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from tenor.cli.console import guarded, out, settings

__all__ = ["app", "main"]

app = typer.Typer(
    name="tenor",
    help="Train, save, serve and look into models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = Annotated[Path, typer.Argument(metavar="MODEL.tnr", help="A saved model.")]


def installed_version() -> str:
    """Return Tenor's version."""
    try:
        return version("tenor")
    except PackageNotFoundError:
        from tenor import __version__  # noqa: PLC0415 - only from a source tree

        return __version__


def _print_version(asked: bool) -> None:
    if asked:
        out.print(f"tenor {installed_version()}")
        raise typer.Exit


@app.callback()
def _options(
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show Python's traceback of a failure.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Train, save, serve and look into models."""
    settings.traceback = traceback


@app.command()
@guarded
def demo(
    out_dir: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where everything it makes is put.")
    ] = Path("demo_out"),
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training images.")
    ] = None,
) -> int:
    """Train a digit classifier, save it, serve it over HTTP and check its answers."""
    from tenor.cli.demo import demo as run  # noqa: PLC0415

    return run(out_dir, epochs)


@app.command()
@guarded
def serve(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL.tnr", help="The models to serve.")],
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 for all of them.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.")] = 8501,
    name: Annotated[
        str | None, typer.Option(help="The name in URLs, instead of the model's own.")
    ] = None,
    drain: Annotated[
        float, typer.Option(min=0, help="Seconds to go on answering, not ready, before a stop.")
    ] = 0.0,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> int:
    """Answer HTTP requests with saved models, until interrupted.

    Speaks TensorFlow Serving's REST format and the Open Inference Protocol v2.
    """
    from tenor.cli.serve import serve as run  # noqa: PLC0415

    return run(models, host=host, port=port, name=name, drain=drain, log_level=log_level)


@app.command()
@guarded
def predict(
    model: Model,
    given: Annotated[
        str, typer.Argument(metavar="INPUT", help="A .npy, .npz, .json or .csv file; - is JSON.")
    ],
    signature: Annotated[
        str | None, typer.Option(help="What to ask; by default predict, or the only one.")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write a .npy, .npz, .json or .csv file."),
    ] = None,
) -> int:
    """Run a saved model on the values in a file; by default the answer is JSON."""
    from tenor.cli.predict import predict as run  # noqa: PLC0415

    return run(model, given, signature, to)


@app.command()
@guarded
def inspect(
    model: Model,
    json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    program: Annotated[
        str | None, typer.Option(metavar="SIGNATURE", help="Print a signature's program instead.")
    ] = None,
) -> int:
    """Show what a saved model is, without running it."""
    from tenor.cli.inspect import inspect as run  # noqa: PLC0415

    return run(model, as_json=json, program=program)


@app.command()
@guarded
def verify(model: Model) -> int:
    """Run the examples saved with a model again and compare every bit."""
    from tenor.cli.verify import verify as run  # noqa: PLC0415

    return run(model)


@app.command()
@guarded
def explain(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT.py", help="A script that uses Tenor.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGS", help="The script's own arguments, after --."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="PAGE.html", help="Write everything as one page.")
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(help="source, graph, passes, kernels, loops, ir or asm."),
    ] = None,
    program: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Show program N alone.")
    ] = None,
    measure: Annotated[bool, typer.Option(help="Run each kernel again for its time.")] = True,
) -> int:
    """Run a script and show what it became: graphs, kernels, loops, LLVM IR, machine code."""
    from tenor.cli.explain import explain as run  # noqa: PLC0415

    return run(script, arguments or [], html=html, stage=stage, program=program, measure=measure)


@app.command()
@guarded
def doctor() -> int:
    """Check this installation and say what it runs on."""
    from tenor.cli.doctor import doctor as run  # noqa: PLC0415

    return run()


def main() -> None:
    """Run the command line."""
    app(prog_name="tenor")
