"""`tenor serve`: saved models behind HTTP."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from rich.table import Table

from tenor.cli.console import err
from tenor.errors import ArgumentError
from tenor.save import load_model
from tenor.save.manifest import NAME
from tenor.serve import serve as serve_models

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tenor.save import LoadedModel

__all__ = ["serve"]

LEVELS: Final = ("debug", "info", "warning", "error")


def serve(
    paths: Sequence[Path], *, host: str, port: int, name: str | None, drain: float, log_level: str
) -> int:
    """Serve models until SIGTERM or SIGINT; 0 where every request was answered."""
    if log_level not in LEVELS:
        raise ArgumentError(
            "serve: --log-level names a level.", came=repr(log_level), fix=", ".join(LEVELS)
        )
    if name is not None and len(paths) > 1:
        raise ArgumentError(
            "serve: --name is for one model.",
            came=f"{len(paths)} models",
            fix="leave it out: each model has its own name and version",
        )
    if name is not None and not NAME.fullmatch(name):
        raise ArgumentError(
            "serve: --name is a name in URLs.",
            came=repr(name),
            fix="use letters, digits, '.', '_' and '-'",
        )
    logging.basicConfig(
        level=log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )
    models = [load_model(path) for path in paths]
    if name is not None:
        models[0].name = name
    _different(paths, models)
    err.print(_table(models))
    answered = serve_models(models, host, port, drain_seconds=drain)
    return 0 if answered else 1


def _different(paths: Sequence[Path], models: Sequence[LoadedModel]) -> None:
    """Refuse models that would answer at the same address."""
    seen: dict[tuple[str, str], Path] = {}
    for path, model in zip(paths, models, strict=True):
        first = seen.setdefault((model.name, model.version), path)
        if first is not path:
            raise ArgumentError(
                "serve: every model has a name or version of its own.",
                came=f"{model.name} version {model.version} in {first} and in {path}",
                fix="save one with another version= (or name=), or serve it elsewhere with --name",
            )


def _table(models: Sequence[LoadedModel]) -> Table:
    table = Table(header_style="bold")
    for name in ("model", "version", "predict with POST", "or POST"):
        table.add_column(name, overflow="fold")
    for m in models:
        table.add_row(
            m.name, m.version, f"/v1/models/{m.name}:predict", f"/v2/models/{m.name}/infer"
        )
    return table
