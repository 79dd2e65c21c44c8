"""The Open Inference Protocol, version 2, in JSON.

Source:
    https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from tenor.errors import RequestError
from tenor.serve.servable import choose, default_signature, describe, execute
from tenor.serve.tensors import Place, from_flat, read, readable, word, write

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tenor.serve.servable import Array, Servable, Signature, TensorSpec

__all__ = ["infer", "metadata", "server_metadata"]

DATATYPES: Final = {
    "float64": "FP64",
    "float32": "FP32",
    "float16": "FP16",
    "bfloat16": "BF16",
    "int64": "INT64",
    "int32": "INT32",
    "int16": "INT16",
    "int8": "INT8",
    "uint64": "UINT64",
    "uint32": "UINT32",
    "uint16": "UINT16",
    "uint8": "UINT8",
    "bool": "BOOL",
}

EXTENSIONS: Final = {
    "binary_data_size": "the binary tensor extension",
    "shared_memory_region": "the shared memory extension",
    "classification": "the classification extension",
}
"""Parameters that change what the data means, so that passing over them would be wrong."""

Parameters = dict[str, Any]


class InferInput(msgspec.Struct):
    """A tensor of a request."""

    name: str
    shape: list[int]
    datatype: str
    data: Any = msgspec.UNSET
    parameters: Parameters = {}


class InferOutput(msgspec.Struct):
    """An output a request asks for."""

    name: str
    parameters: Parameters = {}


class InferRequest(msgspec.Struct):
    """The body of POST .../infer."""

    inputs: list[InferInput]
    id: str | None = None
    parameters: Parameters = {}
    outputs: list[InferOutput] | None = None


def server_metadata(version: str) -> dict[str, Any]:
    """Return the answer to GET /v2."""
    return {"name": "tenor", "version": version, "extensions": []}


def metadata(servable: Servable, versions: Iterable[str]) -> dict[str, Any]:
    """Return the answer to GET /v2/models/NAME, which describes the default signature."""
    signature = default_signature(servable)
    return {
        "name": servable.name,
        "versions": list(versions),
        "platform": "tenor",
        "description": servable.description,
        "inputs": [tensor_metadata(spec) for spec in signature.inputs] if signature else [],
        "outputs": [tensor_metadata(spec) for spec in signature.outputs] if signature else [],
    }


def tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    """Return a tensor's name, datatype and shape, where a symbolic dim is -1."""
    shape = [-1 if isinstance(dim, str) else dim for dim in spec.shape]
    return {"name": spec.name, "datatype": DATATYPES[spec.dtype.name], "shape": shape}


def infer(servable: Servable, body: bytes) -> bytes:
    """Answer POST .../infer.

    The request's parameter `signature_name` chooses a signature, for which the protocol has no
    field of its own; other parameters are passed over.

    Raises:
        RequestError: The body is not an inference request that the model takes.
    """
    request = parse(read(body))
    name = request.parameters.get("signature_name")
    if not isinstance(name, str | None):
        raise RequestError("parameter 'signature_name' must be a string.", came=word(name))
    signature = choose(servable, name)
    wanted = wanted_outputs(request, signature)
    came = execute(servable, signature, parse_inputs(request, signature))
    arrays = {spec.name: readable(came[spec.name], spec.dtype) for spec in wanted}
    answer: dict[str, Any] = {"model_name": servable.name, "model_version": servable.version}
    if request.id is not None:
        answer["id"] = request.id
    answer["outputs"] = [
        {
            "name": spec.name,
            "datatype": DATATYPES[spec.dtype.name],
            "shape": list(arrays[spec.name].shape),
            "data": arrays[spec.name].reshape(-1).tolist(),
        }
        for spec in wanted
    ]
    return write(answer, arrays.values())


def parse(document: dict[str, Any]) -> InferRequest:
    """Return a request whose fields have the types the protocol gives them."""
    try:
        return msgspec.convert(document, InferRequest)
    except msgspec.ValidationError as error:
        raise RequestError("the request has a field of the wrong type.", came=str(error)) from None


def parse_inputs(request: InferRequest, signature: Signature) -> dict[str, Array]:
    """Return the request's tensors by name; each input of the signature once."""
    specs = {spec.name: spec for spec in signature.inputs}
    inputs: dict[str, Array] = {}
    for i, tensor in enumerate(request.inputs):
        if tensor.name not in specs or tensor.name in inputs:
            problem = "a second" if tensor.name in inputs else "an unknown"
            raise RequestError(
                f"the model's inputs are {sorted(specs)}, each sent once.",
                came=f"{problem} input {tensor.name[:40]!r} in inputs[{i}]",
            )
        inputs[tensor.name] = parse_input(tensor, specs[tensor.name], f"inputs[{i}]")
    if missing := sorted(specs.keys() - inputs.keys()):
        raise RequestError(
            f"the model's inputs are {sorted(specs)}, each sent once.", came=f"missing {missing}"
        )
    return inputs


def parse_input(tensor: InferInput, spec: TensorSpec, where: str) -> Array:
    """Return one tensor, whose datatype and shape must be those of the input."""
    refuse_extensions(tensor.parameters, where)
    wanted = DATATYPES[spec.dtype.name]
    if tensor.datatype != wanted:
        raise RequestError(
            f"input {spec.name!r} must be {describe(spec)}, datatype {wanted}.",
            came=f"datatype {tensor.datatype[:40]!r} in {where}",
            fix=f"convert the values and send datatype {wanted!r}",
        )
    if tensor.data is msgspec.UNSET:
        raise RequestError("every input must hold its elements.", came=f"no 'data' in {where}")
    return from_flat(tensor.data, tensor.shape, spec, Place(f"{where}.data"))


def wanted_outputs(request: InferRequest, signature: Signature) -> list[TensorSpec]:
    """Return the outputs asked for, in the request's order; all of them if it names none."""
    if not request.outputs:
        return list(signature.outputs)
    specs = {spec.name: spec for spec in signature.outputs}
    wanted: dict[str, TensorSpec] = {}
    for i, output in enumerate(request.outputs):
        refuse_extensions(output.parameters, f"outputs[{i}]")
        if output.name not in specs or output.name in wanted:
            problem = "a second" if output.name in wanted else "an unknown"
            raise RequestError(
                f"the model's outputs are {sorted(specs)}, each asked for once.",
                came=f"{problem} output {output.name[:40]!r} in outputs[{i}]",
            )
        wanted[output.name] = specs[output.name]
    return list(wanted.values())


def refuse_extensions(parameters: Parameters, where: str) -> None:
    """Refuse parameters that ask for an extension this server does not offer."""
    for parameter, extension in EXTENSIONS.items():
        if parameter in parameters:
            raise RequestError(
                f"this server does not offer {extension}.",
                came=f"parameter {parameter!r} in {where}",
                fix="send and ask for tensors as JSON data",
            )
