"""`save` and `load`: a model, or tensors and plain data, to and from a file of either format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tenor.errors import ArgumentError
from tenor.save import bundle, safetensors
from tenor.save.elements import restored, stored
from tenor.save.loaded import LoadedModel, known_device
from tenor.save.mapping import mapped
from tenor.save.model import save_model
from tenor.save.nest import NEST, is_nested, packed, unpacked
from tenor.save.programs import MAX_BYTES
from tenor.tensor import Tensor

if TYPE_CHECKING:
    import os

__all__ = ["load", "save"]

ZIP: Final = b"PK"


def save(
    what: Any,
    path: str | os.PathLike[str],
    *,
    example_inputs: Any = None,
    signatures: Mapping[str, Any] | None = None,
    name: str | None = None,
    version: str | int = "1",
    description: str = "",
    dynamic: str | None = "batch",
    assets: Mapping[str, bytes] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Save a model as a `.tnr` file, or tensors and plain data as a `.safetensors` file.

    Whatever stood at `path` is replaced whole or not at all. `save_model` says what the other
    arguments mean; `metadata` is text for a `.safetensors` file.

    Args:
        what: A module; or a dict of tensors or arrays, e.g. a `state_dict()`; or a checkpoint: a
            nest of dicts, lists and tuples of tensors, strings, numbers and None.
        path: The file; its suffix decides the format.

    Raises:
        ArgumentError: `what` and the suffix do not go together, or the model cannot be saved.
        SaveError: The file could not be written; the old one stands.

    Example:
        >>> import tempfile, pathlib
        >>> import tenor as tn
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "weights.safetensors"
        >>> save({"w": tn.ones(2)}, path)
        >>> load(path)["w"].tolist()
        [1.0, 1.0]
        >>> save({"weights": [tn.ones(2)], "epoch": 3}, path)
        >>> load(path)
        {'weights': [tensor([1., 1.])], 'epoch': 3}
    """
    suffix = Path(path).suffix
    if suffix == ".safetensors":
        state = what.state_dict() if hasattr(what, "state_dict") else what
        if isinstance(state, Mapping) and not is_nested(state):
            arrays = {k: stored(v) if isinstance(v, Tensor) else v for k, v in state.items()}
        else:
            arrays, text = packed(state)
            metadata = {**(metadata or {}), NEST: text}
        safetensors.save_file(arrays, path, metadata)
    elif suffix == ".tnr" and callable(what):
        save_model(
            what, path, example_inputs=example_inputs, signatures=signatures, name=name,
            version=version, description=description, dynamic=dynamic, assets=assets,
        )  # fmt: skip
    else:
        suffix = ".tnr" if callable(what) else ".safetensors"
        raise ArgumentError(
            "save: a model to a .tnr file; tensors, and nests of them and plain data, to a "
            ".safetensors file.",
            came=f"{type(what).__name__} to {Path(path).name!r}",
            fix=f"call it {Path(path).with_suffix(suffix).name!r}",
        )


def load(
    path: str | os.PathLike[str],
    map_location: Any = None,
    *,
    weights_only: bool = True,
    max_bytes: int = MAX_BYTES,
    device: str = "cpu",
) -> Any:
    """Load what `save` saved: a model that can be called, tensors by name, or a nest of them.

    The file may come from anywhere: nothing in it is run, or believed before it is checked.

    Args:
        path: A `.tnr` or `.safetensors` file; its first bytes decide.
        map_location: Accepted for PyTorch's sake; everything is loaded to the CPU.
        weights_only: Accepted for PyTorch's sake; there is never code in a file.
        max_bytes: For a model, the most memory a run may take: its outputs, the values it stores
            on the way, and workspace.
        device: Where a model runs: "cpu" with the bits it was saved with, or "webgpu", a GPU by
            way of the package `wgpu`, within 1e-5 of them. Tensors come and go by the CPU.

    Raises:
        FormatError: The file is damaged or of another kind; says why.
        OSError: It cannot be opened.
        ArgumentError: No such device, or the model has an operation it cannot do.
        DTypeError: The model has a dtype the device cannot hold.
    """
    del map_location, weights_only
    view = mapped(path)
    if bytes(view[: len(ZIP)]) == ZIP:
        return LoadedModel(bundle.parse(view), max_bytes=max_bytes, device=device)
    if known_device(device) != "cpu":
        raise ArgumentError(
            "load: tensors are loaded to the CPU.",
            came=f"device={device!r} for {Path(path).name!r}",
            fix="leave device out; a .tnr model can run on another device",
        )
    found = safetensors.read(view)
    text = found.metadata.get(NEST)
    if text is not None:
        return unpacked(text, found.typed())
    return {key: restored(value) for key, value in found.typed().items()}
