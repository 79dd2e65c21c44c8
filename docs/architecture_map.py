"""Write the map in ARCHITECTURE.md from pyproject's layers and the packages' own first lines.

`python docs/architecture_map.py` rewrites it; the tests check that it is what would be written.
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

__all__ = ["BEGIN", "END", "layers", "page", "rendered"]

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "tenor"
PAGE = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- map: begin -->", "<!-- map: end -->"


def layers() -> list[list[str]]:
    """Return the layers, highest first, each with its packages."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    found = next(c for c in contracts if c["type"] == "layers")["layers"]
    return [[name.strip() for name in row.split("|")] for row in found]


def first_line(name: str) -> str:
    """Return the first line of a package's or module's docstring."""
    folder = PACKAGE / name / "__init__.py"
    file = folder if folder.exists() else PACKAGE / f"{name}.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0].replace("|", r"\|") if text else ""


def rendered() -> str:
    """Return the map as a Markdown table: one row a layer, imports point down."""
    lines = ["| layer | what it is |", "|---|---|"]
    for row in layers():
        for i, name in enumerate(row):
            arrow = "" if i == 0 else "beside it: "
            lines.append(f"| {arrow}`{name}` | {first_line(name)} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """Return the page with its map renewed."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{rendered()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
