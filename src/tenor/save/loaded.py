"""A loaded model: answers, with the bits the saved one answered with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from tenor.engine.trace import refuse_observation
from tenor.errors import ArgumentError, FormatError, RequestError, ShapeError
from tenor.save import bundle, examples, safetensors
from tenor.save.elements import converted, restored, widened
from tenor.save.programs import MAX_BYTES, Program
from tenor.save.safetensors import Typed

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tenor.ir.node import Graph
    from tenor.save.bundle import Bundle
    from tenor.save.examples import Example
    from tenor.save.manifest import Signature, TensorSpec
    from tenor.tensor import Tensor

    Array = NDArray[np.generic]

__all__ = ["LoadedModel", "Mismatch", "Verification", "known_device", "load_model"]

DEVICE: Final = re.compile(r"cpu|webgpu(:\d{1,3})?")
PREFERRED: Final = ("serving_default", "predict")


@dataclass(frozen=True)
class Mismatch:
    """An output that came out in other bits than when the model was saved.

    Attributes:
        signature: What was asked.
        output: The output.
        elements: How many of its elements differ.
        largest: The largest difference between two of them; NaN where one is NaN.
    """

    signature: str
    output: str
    elements: int
    largest: float


@dataclass(frozen=True)
class Verification:
    """What re-running the examples showed.

    Attributes:
        examples: How many signatures had an example.
        rows: How many rows were run.
        mismatches: Outputs that differ; another processor may round a last bit otherwise.
    """

    examples: int
    rows: int
    mismatches: tuple[Mismatch, ...]

    @property
    def ok(self) -> bool:
        """Whether every output has the same bits as when the model was saved."""
        return not self.mismatches

    def __bool__(self) -> bool:
        return self.ok


class LoadedModel:
    """A model from a `.tnr` file; it can be called, served and verified, by any thread.

    Attributes:
        name: Its name, as in URLs.
        version: Its version.
        description: A line for people.
        signatures: What it can be asked, by name.
        producer: The Tenor that saved it.
        examples: The examples saved with it, by signature.
        device: Where it runs: "cpu", or "webgpu" with answers within 1e-5 of those.
    """

    def __init__(self, opened: Bundle, *, max_bytes: int = MAX_BYTES, device: str = "cpu") -> None:
        manifest = opened.manifest
        self.name = manifest.name
        self.version = manifest.version
        self.description = manifest.description
        self.signatures: Mapping[str, Signature] = manifest.signatures
        self.producer = manifest.producer
        self.device = known_device(device)
        self._assets = {n: v for n, v in opened.members.items() if n.startswith("assets/")}
        self._weights = _weights(opened)
        self._programs = {
            name: Program(
                s, opened.text(bundle.program_member(name)), self._weights.arrays, max_bytes, device
            )
            for name, s in manifest.signatures.items()
        }
        self.examples: Mapping[str, Example] = _examples(opened)
        for name, signature in self.signatures.items():
            if name in self.examples:
                sizes = _bound(signature, self.examples[name].inputs)
                program = self._programs[name]
                # What a device cannot do is said now, and what it can is compiled.
                _ = program.graph(sizes) if device == "cpu" else program.ready(sizes)
            else:
                self._programs[name].probe()

    def __repr__(self) -> str:
        asked = (_described(signature) for signature in self.signatures.values())
        return f"LoadedModel({self.name!r}, version {self.version}: {'; '.join(asked)})"

    def __call__(self, *inputs: Any, signature: str | None = None) -> Any:
        """Return a signature's output as a tensor, or its outputs by name where it has several.

        Args:
            *inputs: Tensors, arrays or nested lists, in the signature's order. A wider dtype of
                the same kind is converted, e.g. float64 to float32.
            signature: What is asked; by default "predict", or the only one.

        Raises:
            ArgumentError: Too few or too many inputs, or no such signature.
            DTypeError, ShapeError: An input that does not fit.
            ObservationError: Inside a function being compiled: it runs at once, on values.
        """
        refuse_observation(f"the saved model {self.name!r}")
        chosen = self.signature(signature)
        if len(inputs) != len(chosen.inputs):
            raise ArgumentError(
                f"{self.name}: {chosen.name} takes {len(chosen.inputs)} inputs.",
                came=str(len(inputs)),
                fix=_described(chosen),
            )
        arrays = {
            spec.name: converted(value, spec.dtype, f"input {spec.name!r} must be {spec}.")
            for spec, value in zip(chosen.inputs, inputs, strict=True)
        }
        outputs = self.run(chosen.name, arrays)
        made = {s.name: restored(Typed(outputs[s.name], s.dtype)) for s in chosen.outputs}
        return next(iter(made.values())) if len(made) == 1 else made

    def run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output of a signature by name; bfloat16 comes and goes as uint16 bits.

        Args:
            signature: What is asked.
            inputs: Every input by name, in its dtype.

        Raises:
            RequestError: No such signature, or inputs of other names, dtypes or shapes.
            ShapeError: Sizes the program cannot be run at, or not in the memory allowed.
            IndexRangeError: An input holds an index out of range.
        """
        found = self.signatures.get(signature)
        if found is None:
            raise RequestError(
                f"{self.name}: a signature of the model.",
                repr(signature),
                ", ".join(self.signatures),
            )
        if inputs.keys() != {spec.name for spec in found.inputs}:
            came = ", ".join(inputs) or "none"
            raise RequestError(f"{signature}: every input by name.", came, _described(found))
        for spec in found.inputs:
            dtype = getattr(inputs[spec.name], "dtype", None)
            if dtype != spec.dtype.numpy:
                came = str(dtype or type(inputs[spec.name]).__name__)
                raise RequestError(f"{signature}: input {spec.name!r} is an array {spec}.", came)
        return self._programs[signature].run(inputs, _bound(found, inputs))

    def verify(self) -> Verification:
        """Run the examples again and compare every bit with what they gave when saved."""
        rows = 0
        mismatches: list[Mismatch] = []
        for name, example in self.examples.items():
            outputs = self.run(name, example.inputs)
            rows += max((a.shape[0] if a.ndim else 1 for a in example.inputs.values()), default=1)
            for spec in self.signatures[name].outputs:
                found = _compare(name, spec, example.outputs[spec.name], outputs[spec.name])
                mismatches += found
        return Verification(len(self.examples), rows, tuple(mismatches))

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of every weight by name, as `Module.load_state_dict` takes them."""
        return {
            name: restored(value)
            for name, value in self._weights.typed().items()
            if not name.startswith("_constant.")
        }

    def asset(self, name: str) -> bytes:
        """Return the bytes of a file saved with the model.

        Raises:
            ArgumentError: There is none of that name.
        """
        if f"assets/{name}" not in self._assets:
            known = ", ".join(n.removeprefix("assets/") for n in self._assets) or "none"
            raise ArgumentError(f"{self.name}: an asset of the model.", repr(name), f"has {known}")
        return bytes(self._assets[f"assets/{name}"])

    def program(self, signature: str) -> str:
        """Return a signature's program as IR text, symbolic sizes left open."""
        return self._programs[self.signature(signature).name].template

    def graph(self, signature: str, sizes: Mapping[str, int]) -> tuple[Graph, Mapping[str, Array]]:
        """Return a signature's graph at sizes of its symbolic dims, and the weights it reads.

        The graph's leaves are the signature's inputs and then these weights, in order.

        Raises:
            ShapeError: The program cannot be run at these sizes.
        """
        found = self.signature(signature)
        program = self._programs[found.name]
        return program.graph(sizes), dict(zip(found.state, program.weights, strict=True))

    def signature(self, name: str | None = None) -> Signature:
        """Return a signature by its name; by default "predict", or the only one.

        Raises:
            ArgumentError: There is none of that name.
        """
        if name is None:
            name = next((n for n in PREFERRED if n in self.signatures), None)
            if name is None and len(self.signatures) == 1:
                name = next(iter(self.signatures))
        found = self.signatures.get(name) if name is not None else None
        if found is None:
            raise ArgumentError(
                f"{self.name}: a signature of the model.",
                came=repr(name),
                fix=f"signature= one of {', '.join(self.signatures)}",
            )
        return found


def known_device(name: str) -> str:
    """Return the name of a device a model can run on.

    Raises:
        ArgumentError: It is none.
    """
    if not DEVICE.fullmatch(name):
        raise ArgumentError(
            "load: device must be one a model can run on.",
            came=repr(name),
            fix="use 'cpu', 'webgpu', or 'webgpu:1' and the like for one of several GPUs",
        )
    return name


def load_model(
    path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES, device: str = "cpu"
) -> LoadedModel:
    """Load a `.tnr` file; every byte of it is verified.

    The weights are mapped from the file, which is to be replaced (as `save` does), not rewritten
    in place, while the model is in use.

    Args:
        path: The file.
        max_bytes: The most memory a run may take: its outputs, the values it stores on the way,
            and workspace.
        device: Where it runs: "cpu", or "webgpu".

    Raises:
        FormatError: It is not a bundle as it was written; says why.
        OSError: It cannot be opened.
        ArgumentError: No such device, or the model has an operation it cannot do.
        DTypeError: The model has a dtype the device cannot hold.
    """
    return LoadedModel(bundle.read(path), max_bytes=max_bytes, device=device)


# -- what is in the bundle --------------------------------------------------------------------
def _weights(opened: Bundle) -> safetensors.Contents:
    if bundle.WEIGHTS not in opened.members:
        _refuse(f"no {bundle.WEIGHTS}", "a model has its weights")
    found = safetensors.read(opened.members[bundle.WEIGHTS])
    if found.arrays.keys() != set(opened.manifest.state):
        odd = sorted(found.arrays.keys() ^ set(opened.manifest.state))
        _refuse(f"weights {', '.join(odd)[:200]}", "the manifest's state names the weights")
    programs = {bundle.program_member(name) for name in opened.manifest.signatures}
    came = {name for name in opened.members if name.startswith("programs/")}
    if programs != came:
        _refuse(f"programs {sorted(came)}", f"one a signature: {sorted(programs)}")
    return found


def _examples(opened: Bundle) -> dict[str, Example]:
    held = opened.members.get(bundle.EXAMPLES)
    return {} if held is None else examples.parse(bytes(held), opened.manifest.signatures)


def _refuse(came: str, wanted: str) -> NoReturn:
    raise FormatError("bundle: members that fit the manifest.", came=came, fix=wanted)


# -- arrays -----------------------------------------------------------------------------------
def _bound(signature: Signature, inputs: Mapping[str, Array]) -> dict[str, int]:
    """Return the size of every symbolic dim.

    Raises:
        ShapeError: An input does not fit, or two inputs disagree.
    """
    sizes: dict[str, int] = {}
    for spec in signature.inputs:
        shape = inputs[spec.name].shape
        fits = len(shape) == len(spec.shape) and all(
            n == (sizes.setdefault(dim, n) if isinstance(dim, str) else dim)
            for n, dim in zip(shape, spec.shape, strict=True)
        )
        if not fits:
            known = ", ".join(f"{name} = {size}" for name, size in sizes.items())
            raise ShapeError(
                f"{signature.name}: input {spec.name!r} must be {spec}.",
                came=f"shape {list(shape)}" + (f" where {known}" if known else ""),
                fix="one example alone is a batch of one: x[None]",
            )
    return sizes


def _compare(signature: str, spec: TensorSpec, wanted: Array, came: Array) -> list[Mismatch]:
    if wanted.shape == came.shape and wanted.tobytes() == came.tobytes():
        return []
    if wanted.shape != came.shape:
        return [Mismatch(signature, spec.name, max(wanted.size, came.size), float("nan"))]
    bits = np.dtype(f"u{wanted.dtype.itemsize}")
    differ = np.ascontiguousarray(wanted).view(bits) != np.ascontiguousarray(came).view(bits)
    first, second = (widened(Typed(a[differ], spec.dtype)) for a in (wanted, came))
    with np.errstate(all="ignore"):
        gap = np.abs(first.astype(np.float64) - second)
    return [Mismatch(signature, spec.name, int(differ.sum()), float(gap.max()))]


def _described(signature: Signature) -> str:
    def specs(every: tuple[TensorSpec, ...]) -> str:
        return ", ".join(f"{spec.name}: {spec}" for spec in every)

    return f"{signature.name}({specs(signature.inputs)}) -> {specs(signature.outputs)}"
