"""The rules of the tree, one test a rule (the layers themselves are import-linter's)."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "tenor"
FILES = sorted(PACKAGE.rglob("*.py"))
PACKAGES = sorted(f for f in FILES if f.name == "__init__.py")
LONGEST = 700
FORBIDDEN = {
    "utils",
    "util",
    "core",
    "common",
    "base",
    "helpers",
    "misc",
    "_src",
    "contrib",
    "legacy",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_the_map_in_the_architecture_page_is_the_layers_contract():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import architecture_map
    finally:
        sys.path.pop(0)
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert architecture_map.page(text) == text, "run: python docs/architecture_map.py"
    rooms = {name for row in architecture_map.layers() for name in row}
    files = {p.stem for p in PACKAGE.glob("*.py")} - {"__init__"}
    here = files | {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert rooms == here


@pytest.mark.parametrize("path", PACKAGES, ids=name_of)
def test_every_package_says_what_comes_in_goes_out_and_never_happens(path):
    text = ast.get_docstring(tree(path)) or ""
    assert text.splitlines()
    for word in ("In:", "Out:", "Never:"):
        assert re.search(rf"^{word} ", text, re.MULTILINE), f"{name_of(path)}: no {word!r}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_file_is_one_noun_of_bearable_length(path):
    assert not FORBIDDEN & {part.removesuffix(".py") for part in path.relative_to(PACKAGE).parts}
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= LONGEST, f"{name_of(path)} has {lines} lines: which two nouns is it?"
    assert ast.get_docstring(tree(path)), f"{name_of(path)} does not say what it is"


def test_only_config_reads_the_environment():
    readers = [
        name_of(p) for p in FILES if re.search(r"os\.(environ|getenv)", p.read_text("utf-8"))
    ]
    assert readers == ["config.py"]


def test_only_the_command_line_prints():
    allowed = ("cli/",)
    printing = [
        name_of(path)
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    assert [p for p in printing if not p.startswith(allowed)] == []


def test_no_pickle_anywhere():
    for path in FILES:
        for node in ast.walk(tree(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            banned = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
            assert not banned & set(names), name_of(path)


def test_nothing_public_is_a_stub():
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Raise) and node.exc is not None:
                raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                if getattr(raised, "id", "") == "NotImplementedError":
                    assert name_of(path) in ALLOWED_ABSTRACT, name_of(path)


ALLOWED_ABSTRACT = {"engine/walk.py", "nn/module.py"}
"""A walk's two abstract steps, and `forward` of a Module that has none: PyTorch's own answer."""


def run(code: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_tenor_brings_in_numpy_and_llvmlite_only():
    code = """
import sys
before = set(sys.modules)
import tenor
import sysconfig
roots = {m.partition('.')[0] for m in set(sys.modules) - before}
print(sorted(r for r in roots if r not in sys.stdlib_module_names))
"""
    roots = set(ast.literal_eval(run(code).strip()))
    assert roots <= {"tenor", "numpy", "llvmlite"} | {
        r for r in roots if r.startswith("__editable__")
    }


def test_importing_tenor_loads_a_bounded_number_of_files():
    code = """
import sys
import numpy
before = set(sys.modules)
import tenor
print(len(set(sys.modules) - before), len([m for m in sys.modules if m.startswith('tenor')]))
"""
    everything, ours = map(int, run(code).split())
    assert ours <= 110
    assert everything <= 190


def test_a_first_computation_needs_no_more_than_the_core():
    code = """
import sys
import tenor as tn
assert (tn.ones(3) + 1).tolist() == [2, 2, 2]
heavy = {'rich', 'click', 'uvicorn', 'starlette', 'tensorboard', 'torch', 'msgspec'}
print(sorted(heavy & set(sys.modules)))
"""
    assert run(code).strip() == "[]"
