"""`tenor predict`: a saved model on the values in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.cli.console import err, out
from tenor.cli.values import plain, read_values, to_json, write_values
from tenor.errors import ArgumentError
from tenor.save import LoadedModel, load_model

if TYPE_CHECKING:
    from pathlib import Path

    from tenor.save.manifest import Signature

__all__ = ["predict"]


def predict(path: Path, given: str, signature: str | None, to: Path | None) -> int:
    """Write a model's answer to the values of a file."""
    model = load_model(path)
    chosen = choose(model, signature)
    inputs, alone = read_values(given, chosen)
    came = model.run(chosen.name, inputs)
    outputs = {spec.name: plain(spec, came[spec.name]) for spec in chosen.outputs}
    if alone:
        outputs = {name: array[0] if array.ndim else array for name, array in outputs.items()}
    if to is None:
        out.out(to_json(outputs))
        return 0
    write_values(to, outputs)
    shapes = ", ".join(f"{name} {a.dtype} {list(a.shape)}" for name, a in outputs.items())
    err.print(f"wrote {to}: {shapes}", markup=False)
    return 0


def choose(model: LoadedModel, name: str | None) -> Signature:
    """Return the signature asked for; by default `predict`, or the only one.

    Raises:
        ArgumentError: The model has none of that name, or several and none was named.
    """
    every = model.signatures
    if name is None:
        name = next((n for n in ("serving_default", "predict") if n in every), None)
        if name is None and len(every) == 1:
            name = next(iter(every))
    if name is None or name not in every:
        raise ArgumentError(
            f"predict: --signature names one of {', '.join(every)}.",
            came="none" if name is None else repr(name),
            fix="tenor inspect shows them",
        )
    return every[name]
