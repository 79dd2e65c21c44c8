"""TensorFlow Serving's REST format: predict in rows and columns, status and metadata.

Source:
    https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tenor.errors import RequestError
from tenor.serve.servable import DEFAULT_SIGNATURE, choose, default_signature, execute
from tenor.serve.tensors import Place, from_nested, read, readable, word, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tenor.serve.servable import Array, Servable, Signature, TensorSpec

__all__ = ["metadata", "predict", "status"]

DTYPES: Final = {
    "float64": "DT_DOUBLE",
    "float32": "DT_FLOAT",
    "float16": "DT_HALF",
    "bfloat16": "DT_BFLOAT16",
    "int64": "DT_INT64",
    "int32": "DT_INT32",
    "int16": "DT_INT16",
    "int8": "DT_INT8",
    "uint64": "DT_UINT64",
    "uint32": "DT_UINT32",
    "uint16": "DT_UINT16",
    "uint8": "DT_UINT8",
    "bool": "DT_BOOL",
}


def status(versions: Iterable[str]) -> dict[str, Any]:
    """Return the answer to GET /v1/models/NAME; a version that is listed can be asked."""
    healthy = {"error_code": "OK", "error_message": ""}
    states = [{"version": v, "state": "AVAILABLE", "status": healthy} for v in versions]
    return {"model_version_status": states}


def metadata(servable: Servable) -> dict[str, Any]:
    """Return the answer to GET .../metadata, a GetModelMetadataResponse in JSON.

    The default signature is listed as `serving_default` too, where TensorFlow clients look.
    """
    signatures = dict(servable.signatures)
    default = default_signature(servable)
    if default is not None:
        signatures.setdefault(DEFAULT_SIGNATURE, default)
    definitions = {
        name: {
            "inputs": {spec.name: tensor_info(spec) for spec in signature.inputs},
            "outputs": {spec.name: tensor_info(spec) for spec in signature.outputs},
            "method_name": "tensorflow/serving/predict",
        }
        for name, signature in signatures.items()
    }
    return {
        "model_spec": {
            "name": servable.name,
            "signature_name": "",
            "version": servable.version,
        },
        "metadata": {"signature_def": {"signature_def": definitions}},
    }


def tensor_info(spec: TensorSpec) -> dict[str, Any]:
    """Return a TensorInfo: sizes in text, as JSON writes int64; a symbolic dim is -1 and named."""
    dims = [
        {"size": "-1", "name": dim} if isinstance(dim, str) else {"size": str(dim), "name": ""}
        for dim in spec.shape
    ]
    return {
        "dtype": DTYPES[spec.dtype.name],
        "tensor_shape": {"dim": dims, "unknown_rank": False},
        "name": spec.name,
    }


def predict(servable: Servable, body: bytes) -> bytes:
    """Answer POST .../NAME:predict.

    Raises:
        RequestError: The body is not a predict request that the model takes.
    """
    request = read(body)
    name = request.get("signature_name")
    if not isinstance(name, str | None):
        raise RequestError("'signature_name' must be a string.", came=word(name))
    signature = choose(servable, name)
    if ("instances" in request) == ("inputs" in request):
        raise RequestError(
            "a predict request holds either 'instances' (rows) or 'inputs' (columns).",
            came="both" if "inputs" in request else f"neither; keys {sorted(request)[:10]}",
            fix='send {"instances": [...]}',
        )
    if "instances" in request:
        rows = request["instances"]
        inputs = from_rows(rows, signature)
        outputs = numbers(signature, execute(servable, signature, inputs))
        return write({"predictions": to_rows(outputs, len(rows))}, outputs.values())
    inputs = from_columns(request["inputs"], signature)
    outputs = numbers(signature, execute(servable, signature, inputs))
    lists = {name: array.tolist() for name, array in outputs.items()}
    return write({"outputs": bare(lists)}, outputs.values())


def from_rows(rows: Any, signature: Signature) -> dict[str, Array]:
    """Return the inputs of a list of examples, batched along dim 0.

    An example is the value of the only input, or an object with every input by name.
    """
    specs = signature.inputs
    for spec in specs:
        if not spec.shape:
            raise RequestError(
                f"'instances' cannot hold input {spec.name!r}, which has no batch dim.",
                fix='send columns: {"inputs": {...}}',
            )
    if not isinstance(rows, list):
        raise RequestError("'instances' must be a list of examples.", came=word(rows))
    if len(specs) == 1 and not (rows and isinstance(rows[0], dict)):
        return {specs[0].name: from_nested(rows, specs[0], Place("instances"))}
    wanted = {spec.name for spec in specs}
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or row.keys() != wanted:
            raise RequestError(
                f"every example must be an object with the inputs {sorted(wanted)}.",
                came=f"{difference(row, wanted)} in instances[{i}]",
                fix="send every input in every example, and nothing else",
            )
    return {
        spec.name: from_nested(
            [row[spec.name] for row in rows], spec, Place("instances", f".{spec.name}")
        )
        for spec in specs
    }


def from_columns(columns: Any, signature: Signature) -> dict[str, Array]:
    """Return the inputs of whole tensors by name, or of the only one, bare."""
    specs = signature.inputs
    if len(specs) == 1 and not isinstance(columns, dict):
        return {specs[0].name: from_nested(columns, specs[0], Place("inputs"))}
    wanted = {spec.name for spec in specs}
    if not isinstance(columns, dict) or columns.keys() != wanted:
        raise RequestError(
            f"'inputs' must be an object with the inputs {sorted(wanted)}.",
            came=difference(columns, wanted),
            fix="send every input, and nothing else",
        )
    return {
        spec.name: from_nested(columns[spec.name], spec, Place(f"inputs.{spec.name}"))
        for spec in specs
    }


def difference(value: Any, wanted: set[str]) -> str:
    """Return what a value lacks of an object with the wanted keys."""
    if not isinstance(value, dict):
        return word(value)
    missing, unknown = sorted(wanted - value.keys()), sorted(value.keys() - wanted)[:5]
    parts = [("missing", missing), ("unknown", [key[:40] for key in unknown])]
    return ", ".join(f"{label} {keys}" for label, keys in parts if keys)


def numbers(signature: Signature, outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the outputs as arrays of numbers."""
    return {spec.name: readable(outputs[spec.name], spec.dtype) for spec in signature.outputs}


def to_rows(outputs: Mapping[str, Array], rows: int) -> list[Any]:
    """Return one prediction an example: a bare value, or an object if outputs are several.

    Raises:
        RequestError: An output is not one value an example.
    """
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != rows:
            raise RequestError(
                f"output {name!r} is not one value an example, so rows cannot hold it.",
                came=f"shape {list(array.shape)} for {rows} instances",
                fix='send columns: {"inputs": ...}',
            )
    lists = {name: array.tolist() for name, array in outputs.items()}
    if len(lists) == 1:
        return list(bare(lists))
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def bare(lists: dict[str, Any]) -> Any:
    """Return the only output without its name, or all of them with theirs."""
    return next(iter(lists.values())) if len(lists) == 1 else lists
