"""`tenor inspect`: what a saved model is, read without running it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from tenor.cli.console import out, spelt
from tenor.errors import ArgumentError
from tenor.explain.units import bytes_text
from tenor.save import bundle, examples, safetensors

if TYPE_CHECKING:
    from pathlib import Path

    from tenor.save.bundle import Bundle
    from tenor.save.manifest import Signature, TensorSpec

__all__ = ["inspect"]


def inspect(path: Path, *, as_json: bool, program: str | None) -> int:
    """Show a bundle's manifest, signatures, weights and members."""
    opened = bundle.read(path)
    if program is not None:
        out.out(spelt(_program(opened, program)), end="")
        return 0
    facts = _facts(path, opened)
    if as_json:
        out.out(json.dumps(facts, indent=1))
    else:
        _show(facts)
    return 0


def _program(opened: Bundle, name: str) -> str:
    if name not in opened.manifest.signatures:
        raise ArgumentError(
            "inspect: --program names a signature.",
            came=repr(name),
            fix=f"one of {', '.join(opened.manifest.signatures)}",
        )
    return opened.text(bundle.program_member(name))


def _facts(path: Path, opened: Bundle) -> dict[str, Any]:
    manifest = opened.manifest
    held = opened.members.get(bundle.WEIGHTS)
    weights = safetensors.read(held).entries if held is not None else {}
    kept = opened.members.get(bundle.EXAMPLES)
    found = examples.parse(bytes(kept), manifest.signatures) if kept is not None else {}
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "sha256": _sha256(path),
        "name": manifest.name,
        "version": manifest.version,
        "description": manifest.description,
        "producer": manifest.producer,
        "signatures": {name: _signature(s) for name, s in manifest.signatures.items()},
        "examples": {
            name: {key: list(array.shape) for key, array in example.inputs.items()}
            for name, example in found.items()
        },
        "weights": {
            name: {"dtype": e.dtype.name, "shape": list(e.shape), "bytes": e.end - e.begin}
            for name, e in weights.items()
        },
        "members": {
            name: {"bytes": d.size, "sha256": d.sha256} for name, d in manifest.members.items()
        },
    }


def _signature(signature: Signature) -> dict[str, Any]:
    def specs(every: tuple[TensorSpec, ...]) -> dict[str, Any]:
        return {s.name: {"dtype": s.dtype.name, "shape": list(s.shape)} for s in every}

    return {"inputs": specs(signature.inputs), "outputs": specs(signature.outputs)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- showing ----------------------------------------------------------------------------------
def _show(facts: dict[str, Any]) -> None:
    out.print(Text.assemble((facts["name"], "bold"), f"  version {facts['version']}"))
    if facts["description"]:
        out.print(Text(spelt(facts["description"])))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    grid.add_row("file", Text(f"{spelt(facts['file'])}, {bytes_text(facts['bytes'])}"))
    grid.add_row("sha256", facts["sha256"])
    grid.add_row("written by", Text(spelt(facts["producer"])))
    grid.add_row("examples", Text(_examples(facts["examples"])))
    out.print(grid)
    out.print(_signatures(facts["signatures"]))
    out.print(_weights(facts["weights"]))
    out.print(_members(facts["members"]))


def _examples(found: dict[str, Any]) -> str:
    each = [
        f"{name}: {', '.join(f'{key} {shape}' for key, shape in inputs.items())}"
        for name, inputs in found.items()
    ]
    return "; ".join(each) or "none"


def _signatures(every: dict[str, Any]) -> Table:
    table = Table(title="signatures", title_justify="left", header_style="bold")
    for name in ("signature", "", "name", "dtype", "shape"):
        table.add_column(name, overflow="fold")
    for name, signature in every.items():
        for side in ("inputs", "outputs"):
            for at, (key, spec) in enumerate(signature[side].items()):
                first = name if side == "inputs" and at == 0 else ""
                where = "" if at else side.removesuffix("s")
                table.add_row(Text(first), where, Text(key), spec["dtype"], _shape(spec["shape"]))
    return table


def _shape(shape: list[int | str]) -> Text:
    return Text(f"[{', '.join(map(str, shape))}]")


def _weights(weights: dict[str, Any]) -> Table:
    total = sum(w["bytes"] for w in weights.values())
    title = f"weights: {len(weights)}, {bytes_text(total)}"
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("name", overflow="fold")
    table.add_column("dtype")
    table.add_column("shape", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    for name, w in weights.items():
        table.add_row(Text(spelt(name)), w["dtype"], _shape(w["shape"]), bytes_text(w["bytes"]))
    return table


def _members(members: dict[str, Any]) -> Table:
    table = Table(title="members", title_justify="left", header_style="bold")
    table.add_column("name", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("sha256", overflow="fold")
    for name, member in members.items():
        table.add_row(Text(name), bytes_text(member["bytes"]), member["sha256"])
    return table
