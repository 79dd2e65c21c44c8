"""`tenor verify`: the examples of a saved model, run again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.cli.console import complain, out
from tenor.save import load_model

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["verify"]


def verify(path: Path) -> int:
    """Return 0 where every output has the bits it was saved with."""
    model = load_model(path)
    found = model.verify()
    if found.examples == 0:
        complain(
            "verify: a model saved with examples.",
            [f"{path.name} has none"],
            "save it again; tn.save keeps the first rows of example_inputs",
            "Nothing to verify",
        )
        return 1
    if found.ok:
        out.print(
            f"{model.name} version {model.version}: {found.rows} rows of {found.examples} "
            f"signature{'s' * (found.examples != 1)} verified bit for bit",
            style="green",
        )
        return 0
    complain(
        "verify: the outputs have the bits they had when the model was saved.",
        [
            f"{m.signature}, output {m.output}: {m.elements} elements differ, by {m.largest:.3g} "
            "at most"
            for m in found.mismatches
        ],
        "another processor may round a last bit otherwise; anything more is a damaged model",
        "Mismatch",
    )
    return 1
