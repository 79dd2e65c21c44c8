"""Models on the machines they are exported for: right, small, and in need of nothing."""

import numpy as np
import pytest

import tenor as tn
from tenor.export.edge import export_edge
from tenor.export.fold import folded
from tenor.export.source import opened, source_of
from tests.export import zoo
from tests.export.edge import machines

MODELS = ("digits", "keywords", "mobilenet")
RUN = (
    "x86_64-linux", "aarch64-linux", "armv7-linux", "riscv64-linux", "cortex-m4", "cortex-m55",
)  # fmt: skip
LARGEST = 20_000
"""Bytes of code that each of the models takes at most."""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return {name: zoo.bundle(name, folder / f"{name}.tnr")[0] for name in MODELS}


def pairs(names, targets, quick):
    """Return names with targets, those that `quick` does not choose marked as slow."""
    return [
        pytest.param(n, t, marks=() if quick(n, t) else pytest.mark.slow)
        for n in names for t in targets
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "target"), pairs(MODELS, RUN, lambda n, t: n == "digits" or t == "x86_64-linux")
)
def test_a_model_answers_on_its_machine(name, target, bundles, tmp_path):
    source = folded(source_of(opened(bundles[name])))
    weights = "array" if target in machines.BARE else "bin"
    made = export_edge(bundles[name], tmp_path, target=target, weights=weights)
    assert made.code < LARGEST
    right(made, source)


@pytest.mark.parametrize(
    ("name", "target"),
    pairs(("tabular", "recurrent", "transformer"), ("armv7-linux", "cortex-m4", "cortex-m55"),
          lambda n, t: n == "recurrent" and t != "cortex-m55"),
)  # fmt: skip
def test_64_bit_integers_on_machines_of_32(name, target, tmp_path):
    path, _ = zoo.bundle(name, tmp_path / f"{name}.tnr")
    source = folded(source_of(opened(path)))
    weights = "array" if target in machines.BARE else "bin"
    right(export_edge(path, tmp_path, target=target, weights=weights), source)


class Wide(tn.nn.Module):
    """float64 and int64, by what 32-bit machines with a float32 unit have no instructions for."""

    def forward(self, x, i):
        far = (x * 1000).sin() + (x.abs() + 0.1).log() * x.exp() - x.abs().sqrt() / (x + 3)
        return {
            "far": far,
            "power": (x.abs() + 0.5) ** (x * 3),
            "sum": (x.unsqueeze(-1) @ x.unsqueeze(-2)).sum(-1),
            "near": x.float().cos() + x.float().round() + (x * 5).floor().float(),
            "rest": i % 1_000_007,
            "ratio": i // 37,
            "product": i * i + 12_345_678_901,
            "real": i.float() + i.double().float(),
            "whole": (x * 1e10).long(),
            "below": (x < 0.25) & (i > 5_000_000_000),
        }


@pytest.mark.parametrize("target", ["armv7-linux", "riscv64-linux", "cortex-m4", "cortex-m55"])
def test_what_instructions_lack_comes_along(target, tmp_path):
    x = np.array([[0.25, -1.75, 0.1, 2.5, -0.333]])
    i = np.array([[3, -(10**13), 2**40 + 1, 7_000_000_000, -5]])
    path = tmp_path / "wide.tnr"
    tn.save(Wide(), path, example_inputs=(x, i), name="wide")
    source = folded(source_of(opened(path)))
    weights = "array" if target in machines.BARE else "bin"
    made = export_edge(path, tmp_path, target=target, weights=weights)
    got = dict(zip(source.outputs, machines.answered(made, source, [x, i]), strict=True))
    for name, wanted in source.answers.items():
        if wanted.dtype.kind == "f":
            room = 1e-13 if wanted.dtype == np.float64 else 1e-6
            np.testing.assert_allclose(got[name], wanted, rtol=room, err_msg=name)
        else:
            np.testing.assert_array_equal(got[name], wanted, err_msg=name)


def right(made, source):
    """Compare what a machine answers to the first row with what the saved model did."""
    given = [source.rows[name][:1] for name in source.inputs]
    answers = machines.answered(made, source, given)
    for name, got in zip(source.outputs, answers, strict=True):
        wanted = source.answers[name][:1]
        room = 1e-5 * max(1, np.abs(wanted).max())
        np.testing.assert_allclose(got, wanted, rtol=0, atol=room)
