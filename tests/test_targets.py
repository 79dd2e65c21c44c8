"""The page of what runs where is what its generator writes, with a row for every primitive."""

import re
import sys
from pathlib import Path

import pytest

from tenor.compiler.emit import wgsl
from tenor.export.edge import TARGETS, unsupported
from tenor.export.onnx import table
from tenor.export.tflite import rows
from tenor.ir.op import OPS

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture(scope="module")
def generator():
    sys.path.insert(0, str(DOCS))
    try:
        import targets_table
    finally:
        sys.path.pop(0)
    return targets_table


def cells(text):
    """Return the cells of each primitive's row in the first table, by name."""
    first = text.split("\n## ")[0]
    lines = re.findall(r"^\| `(\w+)` \|(.*)\|$", first, re.MULTILINE)
    return {name: [c.strip() for c in re.split(r"(?<!\\)\|", rest)] for name, rest in lines}


def test_the_page_is_what_the_generator_writes(generator):
    written = generator.PAGE.read_text(encoding="utf-8")
    assert generator.page() == written, "run: python docs/targets_table.py"


def test_every_primitive_has_a_row_and_every_cell_an_answer(generator):
    found = cells(generator.PAGE.read_text(encoding="utf-8"))
    assert list(found) == list(OPS)
    for name, (meaning, *answers) in found.items():
        assert meaning == OPS[name].meaning.replace("|", r"\|")
        assert len(answers) == len(generator.COLUMNS)
        assert all(re.fullmatch(r"no|yes(<sup>\d+</sup>)*", answer) for answer in answers), name


@pytest.mark.parametrize(
    ("name", "missing"),
    [("WebGPU", wgsl.MISSING), ("ONNX", table.MISSING), ("TFLite", rows.MISSING)],
)
def test_what_is_missing_says_why_and_what_to_use(generator, name, missing):
    text = generator.PAGE.read_text(encoding="utf-8")
    at = [column.name for column in generator.COLUMNS].index(name)
    refused = {op for op, (_, *answers) in cells(text).items() if answers[at] == "no"}
    assert refused == set(missing)
    below = text.split(f"## Not in {name}\n")[1].split("\n## ")[0]
    for op, (why, instead) in missing.items():
        assert f"| `{op}` | {why.rstrip('.')} | {instead} |" in below


def test_a_machine_that_lacks_something_has_a_note(generator):
    text = generator.PAGE.read_text(encoding="utf-8")
    notes = dict(re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE))
    at = [column.name for column in generator.COLUMNS].index("object code")
    for op, (_, *answers) in cells(text).items():
        said = " ".join(notes[n] for n in re.findall(r"<sup>(\d+)</sup>", answers[at]))
        lacking = {target for target in TARGETS if op in unsupported(target)}
        assert {target for target in TARGETS if f"`{target}`:" in said} == lacking
    assert all(f"`{target}`" in text for target in TARGETS)
