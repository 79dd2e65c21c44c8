"""What a model must offer to be served, and the checks around one run of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from tenor.errors import DTypeError, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tenor.ir.dtype import DType

    Array = NDArray[np.generic]

__all__ = [
    "DEFAULT_SIGNATURE", "Servable", "Signature", "TensorSpec", "choose", "default_signature",
    "describe", "execute",
]  # fmt: skip

DEFAULT_SIGNATURE: Final = "serving_default"
"""TensorFlow Serving's name for the signature used when a request names none."""

PREFERRED: Final = (DEFAULT_SIGNATURE, "predict")


class TensorSpec(Protocol):
    """An input or output: its name, dtype, and a shape whose strings are symbolic dims.

    Equal symbols of one request are equal sizes: ("batch", 784) and ("batch",) go together.
    """

    @property
    def name(self) -> str:
        """The name in requests and answers."""
        ...

    @property
    def dtype(self) -> DType:
        """The element type."""
        ...

    @property
    def shape(self) -> tuple[int | str, ...]:
        """Sizes; a string is a symbolic dim."""
        ...


class Signature(Protocol):
    """One thing a model can be asked: named inputs to named outputs."""

    @property
    def name(self) -> str:
        """The name `run` is called with."""
        ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Every input; a request sends them all."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Every output, in order."""
        ...


class Servable(Protocol):
    """A loaded model."""

    @property
    def name(self) -> str:
        """The name in URLs."""
        ...

    @property
    def version(self) -> str:
        """The version in URLs; TensorFlow clients expect a whole number."""
        ...

    @property
    def description(self) -> str:
        """A line for people."""
        ...

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """What it can be asked, by name."""
        ...

    def run(self, signature: str, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Return every output of a signature.

        The inputs are new C-contiguous arrays that fit the signature, symbolic dims included;
        bfloat16 comes and goes as uint16 bits.

        Called from several threads at once if the server's `concurrency` is more than 1. A
        RequestError, ShapeError or IndexRangeError tells the client what is wrong with its
        values; any other exception is the model's own fault and is answered with 500.
        """
        ...


def describe(spec: TensorSpec) -> str:
    """Return a spec as errors show it, e.g. `float32 [batch, 784]`."""
    return f"{spec.dtype.name} [{', '.join(map(str, spec.shape))}]"


def default_signature(servable: Servable) -> Signature | None:
    """Return the signature of a request that names none, or None if that is ambiguous."""
    signatures = servable.signatures
    for name in PREFERRED:
        if name in signatures:
            return signatures[name]
    return next(iter(signatures.values())) if len(signatures) == 1 else None


def choose(servable: Servable, name: str | None) -> Signature:
    """Return the signature a request asks for.

    Raises:
        RequestError: The servable has no such signature, or none was named and it has several.
    """
    if name is not None and name in servable.signatures:
        return servable.signatures[name]
    found = default_signature(servable) if name in (None, "", DEFAULT_SIGNATURE) else None
    if found is None:
        raise RequestError(
            f"model {servable.name!r}: the request must name one of the model's signatures.",
            came="no signature name" if name is None else repr(name),
            fix=f"use one of {', '.join(sorted(servable.signatures))}",
        )
    return found


def bind(signature: Signature, inputs: Mapping[str, Array]) -> dict[str, int]:
    """Return the size of every symbolic dim.

    Raises:
        RequestError: Two inputs disagree on one.
    """
    sizes: dict[str, int] = {}
    owners: dict[str, str] = {}
    for spec in signature.inputs:
        for dim, size in zip(spec.shape, inputs[spec.name].shape, strict=True):
            if not isinstance(dim, str):
                continue
            owner = owners.setdefault(dim, spec.name)
            if sizes.setdefault(dim, size) != size:
                raise RequestError(
                    f"inputs {owner!r} and {spec.name!r} must agree on dim {dim!r}.",
                    came=f"{sizes[dim]} in {owner!r}, {size} in {spec.name!r}",
                    fix=f"send as many {dim} in both",
                )
    return sizes


def nothing(signature: Signature, sizes: Mapping[str, int]) -> dict[str, Array] | None:
    """Return the outputs of an empty batch, or None where only the model can tell.

    The model can tell alone if an output has elements left, as a mean over the batch has.
    """
    outputs: dict[str, Array] = {}
    for spec in signature.outputs:
        shape = [sizes.get(dim, 0) if isinstance(dim, str) else dim for dim in spec.shape]
        if not any(isinstance(dim, str) and sizes.get(dim) == 0 for dim in spec.shape):
            return None
        outputs[spec.name] = np.zeros(shape, spec.dtype.numpy)
    return outputs


def execute(
    servable: Servable, signature: Signature, inputs: Mapping[str, Array]
) -> dict[str, Array]:
    """Run a servable on checked inputs and check what it returns.

    An empty batch is answered here where the outputs must be empty too, so that no model needs
    to think of it.

    Raises:
        RequestError: The inputs disagree on a symbolic dim.
        DTypeError: The servable broke its own signature, which is not the client's fault.
    """
    sizes = bind(signature, inputs)
    if 0 in sizes.values() and (empty := nothing(signature, sizes)) is not None:
        return empty
    came = servable.run(signature.name, inputs)
    outputs: dict[str, Array] = {}
    for spec in signature.outputs:
        array = np.asarray(came[spec.name])
        if array.dtype != spec.dtype.numpy or array.ndim != len(spec.shape):
            raise DTypeError(
                f"model {servable.name!r}: output {spec.name!r} must be {describe(spec)}.",
                came=f"{array.dtype} {list(array.shape)}",
                fix="correct the servable's signature or its run()",
            )
        outputs[spec.name] = array
    return outputs
