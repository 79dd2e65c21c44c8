"""index.html: a page to try a model on, made from what it takes and gives."""

from __future__ import annotations

import base64
import json
import math
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.errors import ArgumentError
from tenor.export.web.script import probe
from tenor.ir import dtype as dt

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tenor.export.source import Source
    from tenor.export.web.module import Modules, Place
    from tenor.ir.dtype import DType
    from tenor.save import LoadedModel

    Array = NDArray[Any]

__all__ = ["page", "readme"]

POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; connect-src 'self';"
    " style-src 'unsafe-inline'; img-src 'self' data: blob:"
)
"""The browser itself refuses to load anything from elsewhere."""
DRAWN: Final = 64
"""A grey image of up to so many pixels a side is drawn by hand."""
CHANNELS: Final = (1, 3)
SQUARE: Final = 8
"""An image without channels is a square of so many pixels a side at the least."""
BYTES: Final = {dt.uint8: (0.0, 255.0), dt.int8: (-128.0, 127.0)}
"""Black and white where the dtype says it."""
FIELDS: Final = 128
"""Rows of up to so many numbers are a form."""
EXAMPLES: Final = 8
EXAMPLE_BYTES: Final = 200_000
"""How many examples the page holds, and their bytes at most."""


def page(model: LoadedModel, source: Source, modules: Modules, *, gpu: bool = False) -> str:
    """Return index.html."""
    here = files("tenor.export.web")
    read = {name: here.joinpath(name).read_text("utf-8") for name in
            ("page.html", "page.css", "page.js", "teach.html")}  # fmt: skip
    vocabulary, labels = _lines(model, "vocab"), _lines(model, "labels")
    inputs = [_input(p, source, bool(vocabulary)) for p in modules.inputs]
    _name_columns(inputs, _lines(model, "columns"))
    spec = {
        "inputs": inputs,
        "labels": labels,
        "classes": bool(labels) or _learns_classes(modules),
        "vocabulary": vocabulary,
        "examples": _examples(source, modules),
        "gpu": gpu,
    }
    made = {
        "POLICY": escape(POLICY),
        "PROBE": probe(),
        "TITLE": escape(model.name),
        "STYLE": read["page.css"],
        "LEAD": escape(_sentence(model.description)),
        "TEACH": read["teach.html"] if modules.step else "",
        "FOOTER": escape(_footer(modules)),
        "PAGE": json.dumps(spec, separators=(",", ":")).replace("<", "\\u003c"),
        "SCRIPT": read["page.js"],
    }
    text = read["page.html"]
    parts = text.split("__")
    return "".join(made.get(part, part) if i % 2 else part for i, part in enumerate(parts))


def _learns_classes(modules: Modules) -> bool:
    """Tell whether the targets of a training step are classes: scores are then shown as shares."""
    if modules.step is None:
        return False
    targets = modules.step.training.targets
    return all(p.node.dtype.kind == "int" for p in modules.step.inputs if p.name in targets)


def _sentence(text: str) -> str:
    text = text.strip() or "A model made with Tenor."
    return text if text.endswith((".", "!", "?")) else text + "."


def _footer(modules: Modules) -> str:
    numbers = sum(array.size for _, array, _ in modules.weights)
    return f"{numbers:,} weights; {len(modules.simd):,} bytes of WebAssembly. Made with Tenor."


def _lines(model: LoadedModel, name: str) -> list[str]:
    """Return a list saved with the model as `name.json` or, one a line, `name.txt`."""
    for end in (".json", ".txt"):
        try:
            text = model.asset(name + end).decode()
        except ArgumentError:
            continue
        found: Any = json.loads(text) if end == ".json" else text.splitlines()
        if isinstance(found, dict):
            found = sorted(found, key=lambda key: int(found[key]))
        return [str(entry) for entry in found]
    return []


# -- inputs ---------------------------------------------------------------------------------------
def _input(place: Place, source: Source, words: bool) -> dict[str, Any]:
    """Say how an input is given: drawn, as a picture, as a form, as text or as numbers."""
    shape, dtype = place.node.shape, place.node.dtype
    made: dict[str, Any] = {"name": place.name, "dtype": dtype.name, "shape": list(shape)}
    rows = source.rows.get(place.name)
    image = _image(place, rows)
    if image is not None:
        low, high = _range(rows, dtype)
        drawn = image[0] == 1 and max(image[1:3]) <= DRAWN
        made |= {"widget": "drawing" if drawn else "picture", "low": low, "high": high,
                 "image": image}  # fmt: skip
        if drawn and rows is not None:
            made |= _ink(rows.reshape(-1, *image[1:3]), low, high)
        return made
    if words and dtype.kind != "float" and len(shape) == 2:
        return made | {"widget": "text"}
    if shape and math.prod(shape) <= FIELDS and len(shape) <= 2 and shape[0] == 1:
        return made | {"widget": "row"}
    return made | {"widget": "values"}


def _name_columns(inputs: list[dict[str, Any]], columns: list[str]) -> None:
    """Give the fields of forms their names, one input's behind another's."""
    for made in inputs:
        if made["widget"] == "row":
            count = math.prod(made["shape"])
            made["columns"], columns = columns[:count], columns[count:]


def _image(place: Place, rows: Array | None) -> list[Any] | None:
    """Return an image's channels, height, width, and whether the channels are last, or None."""
    shape = place.node.shape
    if place.node.dtype is dt.bool_ or not shape or shape[0] != 1:
        return None
    if len(shape) == 4:
        _, a, b, c = shape
        if a in CHANNELS:
            return [a, b, c, False]
        return [c, a, b, True] if c in CHANNELS else None
    # Without channels: a square of numbers that are not below zero, as pixels are.
    square = len(shape) == 3 and shape[1] == shape[2] and shape[1] >= SQUARE
    if square and rows is not None and rows.size and float(rows.min()) >= 0:
        return [1, shape[1], shape[2], False]
    return None


def _range(rows: Array | None, dtype: DType) -> tuple[float, float]:
    """Return what black and white are: as the examples have them."""
    if dtype in BYTES:
        return BYTES[dtype]
    if rows is None or not rows.size:
        return 0.0, 1.0
    low, high = float(rows.min()), float(rows.max())
    if low < -0.01:
        return (-1.0, 1.0) if low >= -1.01 and high <= 1.01 else (low, high)
    return (0.0, 255.0) if high > 16 else (0.0, 16.0) if high > 1.01 else (0.0, 1.0)


def _ink(rows: Array, low: float, high: float) -> dict[str, bool]:
    """Say whether examples are dark on light, and whether what they show fills them."""
    dark = bool(rows.mean() > (low + high) / 2)
    ink = (high - rows if dark else rows - low) > 0.25 * (high - low)
    touched = np.asarray(ink.any(axis=2))  # (row of the batch, row of pixels)
    return {"dark": dark, "fit": bool(np.mean(touched[:, 0] & touched[:, -1]) > 0.6)}


def _examples(source: Source, modules: Modules) -> list[dict[str, Any]]:
    """Return the first examples and what the saved model answers to them."""
    if not source.rows or any(p.node.shape[:1] != (1,) for p in modules.inputs):
        return []
    count = min(EXAMPLES, *(len(a) for a in source.rows.values()))
    made: list[dict[str, Any]] = []
    nbytes = 0
    for i in range(count):
        given = {p.name: _packed(p, source.rows[p.name][i : i + 1]) for p in modules.inputs}
        came = {
            p.name: _packed(p, source.answers[p.name][i : i + 1])
            for p in modules.outputs
            if source.answers[p.name][i : i + 1].shape == p.node.shape
        }
        nbytes += sum(len(text) for _, text in (*given.values(), *came.values()))
        if nbytes > EXAMPLE_BYTES:
            break
        made.append({"given": given, "made": came})
    return made


def _packed(place: Place, array: Array) -> tuple[str, str]:
    raw = np.ascontiguousarray(array).tobytes()
    return place.node.dtype.name, base64.b64encode(raw).decode()


# -- for people -----------------------------------------------------------------------------------
def readme(model: LoadedModel, modules: Modules, *, gpu: bool = False) -> str:
    """Return README.md."""
    asked = ", ".join(f"{p.name}: {_value(p)}" for p in modules.inputs)
    given = "\n".join(f"| in | `{p.name}` | `{_value(p)}` |" for p in modules.inputs)
    made = "\n".join(f"| out | `{p.name}` | `{_value(p)}` |" for p in modules.outputs)
    values = ", ".join(p.name for p in modules.inputs)
    parts = [
        f"# {model.name}\n\n{_sentence(model.description)} It needs nothing but this folder.\n",
        f"| | name | what |\n|---|---|---|\n{given}\n{made}\n",
        "```js\n"
        'import { load } from "./model.js";\n\n'
        "const model = await load();\n"
        f"const answer = model.predict({values}); // {asked}\n```\n",
        "`index.html` is a page to try it on: `python -m http.server`, or any static server.\n",
        "| file | |\n|---|---|\n"
        "| `model.js`, `model.d.ts` | an ES module and its types |\n"
        "| `model.relaxed.wasm`, `model.simd.wasm` | the model; the script takes the better one |\n"
        "| `weights.bin` | the weights |\n"
        + ("| `training.js` | its training step |\n" if modules.step else "")
        + (_PROGRAM if gpu else "") +
        "| `package.json` | `npm install ./this-folder`, then `import` it by its name |\n",
    ]  # fmt: skip
    if modules.step:
        names = ", ".join(p.name for p in modules.step.inputs)
        parts.append(_TRAINING.format(names=names, rows=modules.step.training.step.batch))
    if gpu:
        parts.append(_GPU)
    return "\n".join(parts)


def _value(place: Place) -> str:
    return f"{place.node.dtype.name} [{', '.join(map(str, place.node.shape))}]"


_PROGRAM: Final = "| `program.json`, `gpu.js`, `webgpu.js` | the model for WebGPU |\n"
_GPU: Final = (
    "`load({ gpu: true })` runs it on WebGPU where the browser has an adapter, and on WebAssembly"
    " otherwise; `run` and `predict` then give promises. `model.kind` says where it runs.\n"
)
_TRAINING: Final = (
    "It can be trained here: `model.trainStep(inputs, targets, {{ lr }})` takes one step on {rows}"
    " rows ({names}) and returns the loss; `model.state()` gives the weights as a `.safetensors`"
    " file, which Python reads by `tenor.load`.\n"
)
