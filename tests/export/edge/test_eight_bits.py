"""Models in eight bits on the machines they are exported for: their answers, and their size."""

from functools import cache

import numpy as np
import pytest

from tenor.export.edge import TARGETS, benchmark, export_edge
from tenor.export.fold import folded
from tenor.export.quantize import calibrate, integer, moved, report
from tenor.export.quantize.running import Running
from tenor.export.source import opened, source_of
from tests.export import zoo
from tests.export.edge import machines

MODELS = ("digits", "keywords", "mobilenet")
RUN = (
    "x86_64-linux", "x86_64-baseline", "aarch64-linux", "aarch64-linux-dotprod", "armv7-linux",
    "riscv64-linux", "cortex-m4", "cortex-m55",
)  # fmt: skip
LARGEST = 20_480
"""Bytes of code that each of the models takes at most."""


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """Return a function of a model's name: its bundle, its record, what it cost."""
    folder = tmp_path_factory.mktemp("bundles")

    @cache
    def of(name):
        path, _ = zoo.bundle(name, folder / f"{name}.tnr")
        source = folded(source_of(opened(path), batch=8))
        found = calibrate(source, source.rows)
        return path, found, report(found, source.rows)

    return of


def quick(name, target):
    return name == "digits" or (name, target) == ("mobilenet", "x86_64-linux")


CASES = [
    pytest.param(n, t, marks=() if quick(n, t) else pytest.mark.slow) for n in MODELS for t in RUN
]


@pytest.mark.parametrize(("name", "target"), CASES)
def test_a_machine_answers_as_the_integer_graph_does(name, target, eight, tmp_path):
    path, found, told = eight(name)
    weights = "array" if target in machines.BARE else "bin"
    made = export_edge(path, tmp_path, target=target, weights=weights, quantization=found)
    assert 0 < made.code < LARGEST
    right(made, path, found, told)


@pytest.mark.parametrize(
    "name", ["digits", *(pytest.param(n, marks=pytest.mark.slow) for n in MODELS[1:])]
)
def test_a_c99_file_answers_as_the_integer_graph_does(name, eight, tmp_path):
    path, found, told = eight(name)
    right(export_edge(path, tmp_path, form="c", quantization=found), path, found, told)


def test_dot_products_of_bytes_take_one_instruction(eight, tmp_path):
    """The words of sdot are in the code where the machine has it, and weights take a byte."""
    path, found, _ = eight("digits")
    objdump = machines.needs("aarch64-linux-gnu-objdump")
    listed, sizes = {}, {}
    for target in ("aarch64-linux", "aarch64-linux-dotprod"):
        made = export_edge(path, tmp_path / target, target=target, quantization=found)
        (file,) = [f for f in made.files if f.suffix == ".o"]
        listed[target] = machines.done([objdump, "-d", file])
        sizes[target] = made.weights
    assert "sdot" not in listed["aarch64-linux"]
    assert "sdot" in listed["aarch64-linux-dotprod"]
    assert sizes["aarch64-linux-dotprod"] < sizes["aarch64-linux"]
    assert "+dotprod" in TARGETS["aarch64-linux-dotprod"].target.features


def test_a_report_is_of_what_is_exported(eight, tmp_path):
    path, found, _ = eight("digits")
    told = benchmark(path, "cortex-m4", quantization=found)
    made = export_edge(path, tmp_path, target="cortex-m4", quantization=found)
    assert (told.code, told.weights, told.workspace) == (made.code, made.weights, made.workspace)
    plain = benchmark(path, "cortex-m4")
    assert told.weights < plain.weights / 3


def right(made, path, found, told):
    """Compare a machine's answers to the first row with this machine's, and with the saved ones.

    Sums of bytes are exact everywhere; the scales are multiplied in as floats, where a last bit
    may move a value by one step.
    """
    source = folded(source_of(opened(path)))
    whole = integer(moved(found, source))
    given = [np.ascontiguousarray(whole.rows[name][:1]) for name in whole.inputs]
    here = Running(whole, list(whole.outputs.values()))(given)
    answers = machines.answered(made, whole, given)
    schemes = [found.schemes[n] for n in found.source.outputs.values()]
    for name, got, wanted, scheme in zip(whole.outputs, answers, here, schemes, strict=True):
        step = float(scheme.scale) * 1.001
        assert np.abs(got - wanted).max() <= step, name
        cost = next(o.largest for o in told.outputs if o.name == name)
        assert np.abs(got - source.answers[name][:1]).max() <= cost + step, name
