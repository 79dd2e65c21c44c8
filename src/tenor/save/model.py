"""Save a model: its programs, weights, signatures and examples in one `.tnr` file."""

from __future__ import annotations

import contextlib
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from tenor.errors import ArgumentError, CompileError, TenorError
from tenor.ir.text import to_text
from tenor.save import bundle, examples, safetensors, symbolic
from tenor.save.elements import restored, stored
from tenor.save.examples import Example
from tenor.save.manifest import SIGNATURE, SYMBOL, TENSOR, Manifest, Signature, TensorSpec
from tenor.save.programs import Program
from tenor.save.recording import Recording, named, record
from tenor.save.safetensors import Typed
from tenor.tensor import Tensor, no_grad, tensor

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.generic]

__all__ = ["Savable", "save_model"]

ROWS: Final = 8
"""Rows of the example inputs that are kept as examples."""
SIZES: Final = 3
"""Sizes of the symbolic dim a model is recorded at."""
PRIMES: Final = (7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83)


class Savable(Protocol):
    """What saving needs of a model; an `nn.Module` has it."""

    def __call__(self, *inputs: Any) -> Any:
        """Compute the outputs."""

    def modules(self) -> Iterable[Any]:
        """Return the model and every module in it; each has a `training` flag."""

    def eval(self) -> Any:
        """Switch all of them to evaluation mode."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """Return the weights by name."""

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]:
        """Return the parameters themselves, by name."""

    def named_buffers(self) -> Iterable[tuple[str, Tensor]]:
        """Return the buffers themselves, by name."""


@dataclass(frozen=True)
class Call:
    """A function of the model, and what to call it with.

    Attributes:
        name: The signature's name.
        function: What is recorded.
        inputs: Example inputs by name.
    """

    name: str
    function: Callable[..., Any]
    inputs: dict[str, Typed]


@dataclass(frozen=True)
class Traced:
    """A signature, its program for every size, and the weights beside the model's own state."""

    signature: Signature
    template: str
    constants: dict[str, Typed]
    example: Example


def save_model(
    model: Savable,
    path: str | os.PathLike[str],
    *,
    example_inputs: Any,
    signatures: Mapping[str, Any] | None = None,
    name: str | None = None,
    version: str | int = "1",
    description: str = "",
    dynamic: str | None = "batch",
    assets: Mapping[str, bytes] | None = None,
) -> None:
    """Save a model as a `.tnr` file; `load` gives one back that answers with the same bits.

    The model is recorded in evaluation mode and without gradients, at several sizes of the
    symbolic dim; it is left as it was. What it does must depend on shapes alone. Whatever stood
    at `path` is replaced whole or not at all.

    Args:
        model: A module.
        path: The file.
        example_inputs: A tensor or array, a tuple of them in the order of `forward`'s
            parameters, or a dict by their names. The first rows are kept as the example that
            `verify` runs.
        signatures: What the model can be asked, by name: functions (methods) that take the
            example inputs, or pairs (function, its own example inputs). By default
            {"predict": model}.
        name: The model's name in URLs; by default the file's, with "_" for what URLs do not take.
        version: Its version; TensorFlow clients expect a whole number.
        description: A line for people.
        dynamic: The name of the inputs' first dim, which may then have any size; None fixes it.
        assets: Further files to keep in the bundle, by name.

    Raises:
        ArgumentError: The model cannot be recorded; says why.
        ObservationError: The model reads a value while it computes.
        SaveError: The file could not be written; the old one stands.
    """
    _check(model, signatures, dynamic, assets)
    arrays = _state(model)
    owned = {id(handle): key for key, handle in _named(model)}
    with _evaluating(model):
        calls = _calls(model, example_inputs, signatures)
        traced = [_traced(call, owned, arrays, dynamic) for call in calls]
    for one in traced:
        arrays |= one.constants
    manifest = Manifest(
        name=_name(Path(path)) if name is None else name,
        version=str(version),
        description=description,
        signatures={one.signature.name: one.signature for one in traced},
        state=tuple(sorted(arrays)),
    )
    kept = {one.signature.name: one.example for one in traced if one.example.inputs}
    members: dict[str, Sequence[bytes | memoryview]] = {
        bundle.WEIGHTS: safetensors.layout(arrays),
        bundle.EXAMPLES: [examples.to_json(kept)],
    }
    members |= {
        bundle.program_member(one.signature.name): [one.template.encode()] for one in traced
    }
    members |= {f"assets/{key}": [data] for key, data in (assets or {}).items()}
    bundle.write(path, manifest, members)


def _check(
    model: Any,
    signatures: Mapping[str, Any] | None,
    dynamic: str | None,
    assets: Mapping[str, bytes] | None,
) -> None:
    """Refuse arguments that no bundle can be made of, before anything is recorded."""
    if not hasattr(model, "named_parameters"):
        raise ArgumentError(
            "save: a model is a module.",
            came=type(model).__name__,
            fix="call the function in the forward() of an nn.Module",
        )
    names = [("a signature's name", name, SIGNATURE) for name in signatures or ()]
    names += [("dynamic", dynamic, SYMBOL)] if dynamic is not None else []
    for what, name, pattern in names:
        if not pattern.fullmatch(str(name)):
            raise ArgumentError(
                f"save: {what} is letters, digits and '_', and begins with no digit.", repr(name)
            )
    for name, data in (assets or {}).items():
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise ArgumentError(
                "save: an asset is bytes.",
                came=f"{type(data).__name__} for {name!r}",
                fix="read the file, or encode the text: Path(...).read_bytes(), text.encode()",
            )


def _name(path: Path) -> str:
    """Return a model's name made of its file's."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", path.stem)[:128].lstrip(".-") or "model"


# -- the model --------------------------------------------------------------------------------
@contextlib.contextmanager
def _evaluating(model: Savable) -> Iterator[None]:
    """Switch to evaluation mode, and every module back to the mode it had."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, training in before:
            module.training = training


def _named(model: Savable) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _state(model: Savable) -> dict[str, Typed]:
    """Return every weight: what `state_dict` has, and buffers that it leaves out."""
    found = dict(_named(model)) | dict(model.state_dict())
    # What else a module keeps (`get_extra_state`) is Python's: what was recorded does without.
    return {key: stored(value) for key, value in found.items() if isinstance(value, Tensor)}


# -- what it is called with -------------------------------------------------------------------
def _calls(model: Savable, inputs: Any, signatures: Mapping[str, Any] | None) -> list[Call]:
    wanted = {"predict": model} if signatures is None else signatures
    if not wanted:
        raise ArgumentError("save: at least one signature.", "none", "leave signatures= out")
    calls = []
    for name, entry in wanted.items():
        function, own = entry if isinstance(entry, tuple) else (entry, inputs)
        calls.append(Call(name, function, _inputs(name, function, own)))
    return calls


def _inputs(name: str, function: Any, given: Any) -> dict[str, Typed]:
    if given is None:
        raise ArgumentError(
            "save: a model is recorded on example inputs.",
            came=f"none for {name!r}",
            fix="pass example_inputs=, a batch as the model takes it",
        )
    parameters = _parameters(function)
    if isinstance(given, dict):
        unknown = given.keys() - set(parameters)
        if unknown:
            raise ArgumentError(
                f"save: example inputs of {name!r} by the names of its parameters.",
                came=", ".join(map(str, unknown)),
                fix=f"use {', '.join(parameters)}",
            )
        return {key: _typed(given[key]) for key in parameters if key in given}
    values = given if isinstance(given, tuple) else (given,)
    names = [*parameters, *(f"input_{i}" for i in range(len(parameters), len(values)))]
    return {key: _typed(value) for key, value in zip(names, values, strict=False)}


def _parameters(function: Any) -> list[str]:
    """Return the names of a function's positional parameters that inputs can have."""
    wanted = getattr(function, "forward", function)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    every = inspect.signature(wanted).parameters.values()
    return [p.name for p in every if p.kind in kinds and TENSOR.fullmatch(p.name)]


def _typed(value: Any) -> Typed:
    return stored(value if isinstance(value, Tensor) else tensor(value))


# -- its programs -----------------------------------------------------------------------------
def _traced(
    call: Call, owned: Mapping[int, str], arrays: Mapping[str, Typed], dynamic: str | None
) -> Traced:
    symbol = dynamic if _batch(call) is not None else None
    sizes: list[int] = _sizes(call, arrays) if symbol is not None else []
    recordings = [_recording(call, owned, size) for size in sizes or (None,)]
    texts = [to_text(recording.graph) for recording in recordings]
    template = symbolic.generalise(texts, sizes, symbol) if symbol is not None else texts[0]
    constants = _constants(call, recordings)
    signature = _signature(call, recordings, symbol, sizes)
    weights = {key: value.array for key, value in {**arrays, **constants}.items()}
    program = Program(signature, template, weights)
    return Traced(signature, template, constants, _example(call, signature, program, symbol))


def _batch(call: Call) -> int | None:
    """Return the size of the first dim of the first input that has dims."""
    shapes = [value.array.shape for value in call.inputs.values()]
    return next((shape[0] for shape in shapes if shape), None)


def _sizes(call: Call, arrays: Mapping[str, Typed]) -> list[int]:
    """Return sizes that no weight or input has, so that no dim is taken for the symbolic one."""
    if _batch(call) == 0:
        raise ArgumentError("save: example inputs have rows.", "a batch of 0", "give at least one")
    shapes = [value.array.shape for value in (*arrays.values(), *call.inputs.values())]
    taken = {size for shape in shapes for size in shape}
    return [*(p for p in PRIMES if p not in taken), *(p + 100 for p in PRIMES)][:SIZES]


def _rows(call: Call, size: int | None) -> dict[str, Typed]:
    """Return the example inputs with another number of rows, repeated or cut."""
    batch = _batch(call)
    if size is None or batch is None:
        return call.inputs
    at = np.arange(size) % batch
    return {
        key: Typed(v.array[at], v.dtype) if v.array.shape[:1] == (batch,) else v
        for key, v in call.inputs.items()
    }


def _recording(call: Call, owned: Mapping[int, str], size: int | None) -> Recording:
    inputs = [restored(value) for value in _rows(call, size).values()]
    try:
        return record(call.function, inputs, owned, call.name)
    except TenorError as error:
        if size is not None:
            error.came.append(f"while {call.name} was recorded for a batch of {size}")
        raise


def _constants(call: Call, recordings: Sequence[Recording]) -> dict[str, Typed]:
    """Return the tensors a function reads that are no weights; equal at every size."""
    found = [
        {key: stored(h) for key, h in r.state.items() if key.startswith("_constant.")}  # type: ignore[arg-type]
        for r in recordings
    ]
    for other in found[1:]:
        for key, value in found[0].items():
            if key not in other or value.array.tobytes() != other[key].array.tobytes():
                raise ArgumentError(
                    f"save: tensors made from data inside {call.name} are the same at every size.",
                    came=f"a tensor of shape {list(value.array.shape)} that differs",
                    fix="use tn.arange, tn.zeros or tn.full, which are part of the program",
                )
    return {f"{key}.{call.name}": value for key, value in found[0].items()}


def _signature(
    call: Call, recordings: Sequence[Recording], symbol: str | None, sizes: list[int]
) -> Signature:
    first = recordings[0]
    batch = _batch(call)
    inputs = []
    for key, value in call.inputs.items():
        shape: tuple[int | str, ...] = value.array.shape
        if symbol is not None and shape[:1] == (batch,):
            shape = (symbol, *shape[1:])
        inputs.append(TensorSpec(key, value.dtype, shape))
    outputs = []
    free = 0
    for i, key in enumerate(first.outputs):
        dims: list[int | str] = []
        for extents in zip(*(r.graph.outputs[i].shape for r in recordings), strict=True):
            if len(set(extents)) == 1:
                dims.append(extents[0])
            elif symbol is not None and list(extents) == sizes:
                dims.append(symbol)
            else:
                dims.append(f"n{free}")
                free += 1
        outputs.append(TensorSpec(key, first.graph.outputs[i].dtype, tuple(dims)))
    state = (f"{k}.{call.name}" if k.startswith("_constant.") else k for k in first.state)
    return Signature(call.name, tuple(inputs), tuple(outputs), tuple(state))


# -- its examples -----------------------------------------------------------------------------
def _example(
    call: Call, signature: Signature, program: Program, symbol: str | None, most: int = ROWS
) -> Example:
    """Run the model and the program that was saved for it; they must give the same bits."""
    rows = min(_batch(call) or 0, most) if symbol is not None else None
    inputs = _rows(call, rows)
    result = call.function(*(restored(value) for value in inputs.values()))
    wanted = {key: stored(value).array for key, value in named(result, call.name).items()}
    given = {key: value.array for key, value in inputs.items()}
    came = program.run(given, {} if symbol is None or rows is None else {symbol: rows})
    for spec in signature.outputs:
        if wanted[spec.name].tobytes() != came[spec.name].tobytes():
            raise CompileError(
                "save: a saved program gives the bits of the model it was recorded from.",
                came=f"other bits in {spec.name!r} of {call.name!r}",
                fix="please report it, with the model",
            )
    example = Example(given, wanted)
    if example.nbytes <= examples.MAX_BYTES:
        return example
    if rows is None or rows == 1:
        return Example({}, {})
    return _example(call, signature, program, symbol, rows // 2)
