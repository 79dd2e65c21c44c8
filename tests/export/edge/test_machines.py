"""Models on the machines they are exported for: right, small, and in need of nothing."""

import numpy as np
import pytest

from tenor.export.edge import export_edge
from tenor.export.fold import folded
from tenor.export.source import opened, source_of
from tests.export import zoo
from tests.export.edge import machines

MODELS = ("digits", "keywords", "mobilenet")
RUN = ("x86_64-linux", "aarch64-linux", "armv7-linux", "cortex-m4", "cortex-m55")
LARGEST = 20_000
"""Bytes of code that each of the models takes at most."""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return {name: zoo.bundle(name, folder / f"{name}.tnr")[0] for name in MODELS}


@pytest.mark.parametrize("target", RUN)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_answers_on_its_machine(name, target, bundles, tmp_path):
    source = folded(source_of(opened(bundles[name])))
    weights = "array" if target in machines.BARE else "bin"
    made = export_edge(bundles[name], tmp_path, target=target, weights=weights)
    assert made.code < LARGEST
    (key,), (output,) = source.inputs, source.outputs
    got = machines.answered(made, source, np.ascontiguousarray(source.rows[key][:1]))
    np.testing.assert_allclose(got, source.answers[output][:1], rtol=0, atol=1e-5)
