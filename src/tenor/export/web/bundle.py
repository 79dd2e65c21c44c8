"""A model's folder for the browser: every file of it, checked before any is written."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tenor.errors import ArgumentError, DTypeError, ExportError
from tenor.export.fold import folded
from tenor.export.quantize.integer import integer
from tenor.export.quantize.moving import moved
from tenor.export.source import opened, source_of
from tenor.export.training import example_targets, training_of
from tenor.export.web.folder import check_folder, put_in_place
from tenor.export.web.gpu import part_of
from tenor.export.web.module import modules_of, trained_modules
from tenor.export.web.page import page, readme
from tenor.export.web.script import check, declarations, gpu_script, script, training_script
from tenor.export.web.weights import FORMS, packed
from tenor.ir import dtype as dt

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from tenor.export.quantize.record import Quantization
    from tenor.export.source import Source
    from tenor.export.web.module import Modules
    from tenor.nn import Module
    from tenor.save import LoadedModel

__all__ = ["LACKS", "Exported", "Parts", "export_web"]

LACKS: Final = (dt.float16,)
"""Dtypes that WebAssembly cannot compute with."""


@dataclass(frozen=True)
class Exported:
    """A folder that was written.

    Attributes:
        folder: Where it is.
        files: Bytes of each file, by name.
    """

    folder: Path
    files: dict[str, int]


@dataclass(frozen=True)
class Parts:
    """What the files of a folder are made from."""

    model: LoadedModel
    source: Source
    modules: Modules
    form: str
    gpu: bool = False


def export_web(
    model: str | os.PathLike[str] | LoadedModel | Module,
    folder: str | os.PathLike[str],
    *,
    example_inputs: Any = None,
    signature: str | None = None,
    batch: int = 1,
    weights: str = "f32",
    quantization: Quantization | None = None,
    gpu: bool = False,
    train: bool = False,
    targets: Any = None,
    loss: str | Callable[..., Any] = "cross_entropy",
    optimizer: str | Callable[..., Any] = "adam",
    lr: float = 1e-3,
    train_batch: int = 8,
) -> Exported:
    """Write a folder that runs a model in a browser, in Node, or from npm.

    It holds `model.js` (`load()` gives a model with `run` and `predict`), its types, two
    WebAssembly modules of which the better one is taken, `weights.bin`, `package.json`, and
    `index.html`, a page to try the model on. Any static server will do.

    Args:
        model: A bundle's path, a loaded model, or a module.
        folder: The folder; an earlier export there is replaced as a whole.
        example_inputs: For a module: what it is recorded on.
        signature: What the model is asked; by default "predict", or the only one.
        batch: Rows of a call: the size of the symbolic dim.
        weights: "f32"; "f16", half the bytes; or "int8", a quarter: each channel has its scale.
            They are made float32 again when the model is loaded.
        quantization: How values are held in eight bits: convolutions and products then compute
            with bytes.
        gpu: Whether it runs on WebGPU too: `load({ gpu: true })`, which falls back to WebAssembly.
        train: Whether it can be trained there too: `trainStep` and `state`. A module is trained in
            training mode, a saved model as it stands.
        targets: Example targets, one or more arrays, or a dict that the loss takes; by default
            what a loss of `nn` takes: classes, or numbers in the shape of the outputs.
        loss: A function of outputs and targets, or its name in `nn.functional`.
        optimizer: "sgd", "adam", "adamw" or "rmsprop", or a function of the parameters.
        lr: The learning rate, unless a step is given another.
        train_batch: Rows of a training step.

    Raises:
        ArgumentError: An argument, or a model that cannot be exported; says why.
        ExportError: The model computes what WebAssembly or, with `gpu`, shaders cannot.
        SaveError: The folder could not be written; what stood there before still stands.
    """
    path = Path(folder)
    _check(path, batch, weights, train, train_batch, signature, quantization, gpu)
    saved = opened(model, example_inputs)
    source = source_of(saved, signature, batch=1 if train else batch)
    check({**source.inputs, **source.outputs})
    if train:
        rows = _example_rows(source)
        network: Any = model if hasattr(model, "named_parameters") else saved
        wanted = targets if targets is not None else _targets(source, loss, train_batch)
        training = training_of(
            network, rows, wanted, loss=loss, optimizer=optimizer, lr=lr, batch=train_batch
        )
        check(training.step.inputs)
        _refuse_halves(training.step)
        modules = trained_modules(saved, training)
    else:
        source = folded(source)
        if quantization is not None:
            source = integer(moved(quantization, source))
        _refuse_halves(source)
        modules = modules_of(source)
    parts = Parts(saved, source, modules, weights, gpu)
    files: dict[str, bytes] = {}
    for part in PARTS:
        files |= part(parts)
    put_in_place(path, files)
    return Exported(path, {name: len(data) for name, data in files.items()})


def _refuse_halves(source: Source) -> None:
    """Refuse half precision: WebAssembly has none, and LLVM finds no end where vectors have it."""
    halves = [node for node in source.graph.nodes if node.dtype in LACKS]
    if halves:
        first = halves[0]
        raise ExportError(
            "export_web: WebAssembly computes in float32 and float64.",
            came=f"{first.dtype.name} in the model: {first.op.name}, {source.where(first)}",
            fix='export model.float(); weights="f16" halves the file',
            where=first.site,
        )


def _check(
    folder: Path, batch: int, weights: str, train: bool, train_batch: int, signature: str | None,
    quantization: Quantization | None, gpu: bool,
) -> None:  # fmt: skip
    """Refuse arguments before anything is compiled."""
    if weights not in FORMS:
        raise ArgumentError("export_web: weights are held in one of " + ", ".join(FORMS) + ".",
                            came=repr(weights))  # fmt: skip
    sizes: dict[str, Any] = {"batch": batch, "train_batch": train_batch}
    for name, value in sizes.items():
        if not isinstance(value, int) or value < 1:
            raise ArgumentError(f"export_web: {name} is a whole number from 1 on.", repr(value))
    if train and quantization is not None:
        raise ArgumentError(
            "export_web: what is trained computes in float32.",
            came="a quantization",
            fix="leave one of the two out",
        )
    if train and gpu:
        raise ArgumentError(
            "export_web: what is trained runs on WebAssembly, where its weights are written.",
            came="gpu=True",
            fix="leave one of the two out",
        )
    if train and batch != 1:
        raise ArgumentError(
            "export_web: what is trained is asked one row at a time.",
            came=f"batch={batch}",
            fix="give the rows of a training step as train_batch=...",
        )
    if train and signature is not None:
        raise ArgumentError("export_web: what is trained is the model's own signature.", signature)
    check_folder(folder)


def _example_rows(source: Source) -> tuple[Any, ...]:
    """Return example inputs as they were saved."""
    if not source.rows:
        raise ArgumentError(
            "export_web: a training step is recorded on example inputs.",
            came="a model that was saved without",
            fix="save it again with example_inputs=...",
        )
    return tuple(source.rows.values())


def _targets(source: Source, loss: Any, rows: int) -> Any:
    """Return example targets of a loss that is known."""
    found = example_targets(loss, next(iter(source.outputs.values())), rows)
    if found is None:
        raise ArgumentError(
            "export_web: a loss has targets.", came="none", fix="give example targets=..."
        )
    return found


# -- the files ------------------------------------------------------------------------------------
TRAINING: Final = "training.js"
GPU: Final = ("program.json", "gpu.js", "webgpu.js")


def _runtime(parts: Parts) -> dict[str, bytes]:
    return {
        "model.js": script(parts.model.name, parts.modules, gpu=parts.gpu).encode(),
        "model.d.ts": declarations(parts.modules, gpu=parts.gpu).encode(),
        "model.relaxed.wasm": parts.modules.relaxed,
        "model.simd.wasm": parts.modules.simd,
    }


def _training(parts: Parts) -> dict[str, bytes]:
    step = parts.modules.step
    return {TRAINING: training_script(parts.model.name, step).encode()} if step else {}


def _gpu(parts: Parts) -> dict[str, bytes]:
    """Return the WebGPU program, which reads weights.bin, and what runs it."""
    if not parts.gpu:
        return {}
    try:
        part = part_of(parts.source, {name: at for name, _, at in parts.modules.weights})
    except (ArgumentError, DTypeError) as problem:
        raise ExportError(
            "export_web: with gpu=True, a model that shaders can compute.",
            came=[problem.wanted, *problem.came],
            fix="leave gpu=True out: WebAssembly runs it",
            where=problem.where,
        ) from problem
    own = base64.b64encode(part.weights).decode()
    program = {**part.program, "begins": part.begins, "own": own}
    made = json.dumps(program, separators=(",", ":")), gpu_script(parts.model.name), part.runtime()
    return {name: text.encode() for name, text in zip(GPU, made, strict=True)}


def _weights(parts: Parts) -> dict[str, bytes]:
    return {"weights.bin": packed(parts.modules.weights, parts.form)}


def _package(parts: Parts) -> dict[str, bytes]:
    """Return package.json: a bundler or Node imports the folder by its name."""
    name = re.sub(r"[^a-z0-9._-]", "-", parts.model.name.lower()).strip("._-") or "model"
    more = [TRAINING] if parts.modules.step else GPU if parts.gpu else ()
    made = {
        "name": name,
        "version": _version(parts.model.version),
        "description": parts.model.description or f"The model {parts.model.name}, by Tenor.",
        "type": "module",
        "main": "./model.js",
        "types": "./model.d.ts",
        "exports": {
            ".": {"types": "./model.d.ts", "default": "./model.js"},
            "./*": "./*",
        },
        "files": ["model.js", "model.d.ts", "*.wasm", "weights.bin", "index.html", *more],
        "sideEffects": False,
    }
    return {"package.json": (json.dumps(made, indent=2) + "\n").encode()}


def _version(version: str) -> str:
    """Return a version as npm writes one."""
    numbers = re.findall(r"\d+", version)[:3]
    return ".".join([*(str(int(n)) for n in numbers), "0", "0", "0"][:3])


def _page(parts: Parts) -> dict[str, bytes]:
    return {
        "index.html": page(parts.model, parts.source, parts.modules, gpu=parts.gpu).encode(),
        "README.md": readme(parts.model, parts.modules, gpu=parts.gpu).encode(),
    }


PARTS: Final[tuple[Callable[[Parts], dict[str, bytes]], ...]] = (
    _runtime, _training, _gpu, _weights, _package, _page,
)  # fmt: skip
"""What makes the files; a further runtime is a further row."""
