"""Turn a saved model into something that runs without Tenor.

In:     a `.tnr` bundle, a loaded model, or a module and example inputs.
Out:    files for other machines: a folder for a browser, an object file and header for a device,
        a `.tflite` or `.onnx` file for other runtimes.
Never:  writes anything before it is known that the whole model can be written; changes the model.

The journey: `source` takes one signature at fixed sizes, `fold` works out what weights decide,
`quantize` may hold values in eight bits. From there `onnx` and `tflite` write other runtimes'
operations, while `machine` makes one function of the whole, with its weights laid out, for `web`
and `edge` to wrap; `training` does so with a step of training.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any, Final

from tenor.errors import ArgumentError

__all__ = ["export", "export_edge", "export_onnx", "export_tflite", "export_web"]

WRITERS: Final = {
    "web": "tenor.export.web:export_web",
    "edge": "tenor.export.edge:export_edge",
    "onnx": "tenor.export.onnx:export_onnx",
    "tflite": "tenor.export.tflite:export_tflite",
}
"""What a model is exported to, and the function that does it; imported when it is asked for."""


def export(model: Any, path: Any, to: str, **options: Any) -> Any:
    """Write a model as files that run without Tenor.

    Args:
        model: A bundle's path, a loaded model, or a module together with `example_inputs=`.
        path: The folder ("web", "edge") or the file ("onnx", "tflite").
        to: "web", "edge", "onnx" or "tflite".
        options: What `export_web`, `export_edge`, `export_onnx` and `export_tflite` take.

    Returns:
        What was written: files, sizes, and how far the answers of a stock runtime were from
        Tenor's where one is installed.

    Raises:
        ArgumentError: `to` is none of these.
        ExportError: The model uses what cannot be written so; says which operation, where, and
            what to use instead. Nothing was written.

    Example:
        >>> import tempfile
        >>> import tenor as tn
        >>> site = tempfile.mkdtemp() + "/site"
        >>> made = tn.export(tn.nn.Linear(4, 2), site, to="web", example_inputs=tn.ones(1, 4))
        >>> "model.js" in made.files
        True
    """
    if to not in WRITERS:
        raise ArgumentError(f"export: to is one of {', '.join(map(repr, WRITERS))}.", came=repr(to))
    return _function(WRITERS[to])(model, path, **options)


def _function(place: str) -> Any:
    package, _, name = place.partition(":")
    return getattr(importlib.import_module(package), name)


def __getattr__(name: str) -> Any:
    """Import an exporter the first time it is used."""
    for place in WRITERS.values():
        if place.endswith(f":{name}"):
            return _function(place)
    raise AttributeError(f"module 'tenor.export' has no attribute {name!r}")


class _Callable(types.ModuleType):
    """A package that is its main function as well: `tn.export(model, path, to="web")`."""

    __call__ = staticmethod(export)


sys.modules[__name__].__class__ = _Callable
