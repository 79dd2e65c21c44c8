"""Every aspect of the primitives is a table with a row for each; a missing row names itself."""

import pytest

from tenor.autograd.vjp import VJP
from tenor.compiler.emit.reference import TABLE
from tenor.ir.infer import RULES
from tenor.ir.op import OPS
from tenor.ir.verify import KINDS

ASPECTS = {
    "ir/infer.py": RULES,
    "compiler/emit/reference.py": TABLE,
    "autograd/vjp.py": VJP,
}


def complaints(path, table):
    """Return what is wrong with a table's rows."""
    missing = [f"{path} has no row for {name}" for name in OPS if name not in table]
    return missing + [
        f"{path} has a row for {name}, no primitive" for name in table if name not in OPS
    ]


@pytest.mark.parametrize("path", ASPECTS)
def test_an_aspect_has_exactly_the_rows_of_the_primitives(path):
    found = complaints(path, ASPECTS[path])
    assert not found, "; ".join(found)


@pytest.mark.parametrize("name", OPS)
def test_each_attribute_has_a_kind(name):
    missing = [a for a in OPS[name].attrs if a not in KINDS and f"{name}.{a}" not in KINDS]
    assert not missing, f"ir/verify.py has no kind for {name}'s {', '.join(missing)}"


def test_a_missing_row_is_named():
    table = {name: None for name in OPS if name != "conv"}
    assert complaints("autograd/vjp.py", table) == ["autograd/vjp.py has no row for conv"]


def test_a_row_too_many_is_named():
    table = {**dict.fromkeys(OPS), "atan": None}
    assert complaints("ir/infer.py", table) == ["ir/infer.py has a row for atan, no primitive"]
