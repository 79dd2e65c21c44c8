"""Models in eight bits: both modules compute what the integer graph says, over the full range."""

import numpy as np
import pytest

from tenor.compiler.emit import reference
from tenor.export.fold import folded
from tenor.export.quantize import calibrate, integer
from tenor.export.source import opened, source_of
from tenor.export.web import export_web
from tests.export import zoo
from tests.export.web.engines import InWasmtime, in_node, jsonable


@pytest.mark.parametrize("name", ["digits", "residual", "tabular", "sound"])
def test_both_modules(name, tmp_path):
    path, _ = zoo.bundle(name, tmp_path / "m.tnr")
    source = folded(source_of(opened(path), batch=2))
    rows = {k: np.ascontiguousarray(v) for k, v in source.rows.items()}
    quantization = calibrate(source, rows, method="minmax")
    export_web(path, tmp_path / "web", batch=2, quantization=quantization)
    whole = integer(quantization)
    given = [rows[k][:2] for k in whole.inputs]
    wanted = reference.run(whole.graph, [*given, *whole.weights.values()], [])
    for kind in ("relaxed", "simd"):
        engine = InWasmtime(tmp_path / "web", kind)
        status, made = engine.run(*given)
        assert status == 0
        for came, array in zip(made.values(), wanted, strict=True):
            np.testing.assert_allclose(came, array, rtol=0, atol=1e-5 * max(1, np.abs(array).max()))
    found = in_node(tmp_path / "web", "return (await load()).run(given);",
                    dict(zip(whole.inputs, map(jsonable, given), strict=True)))  # fmt: skip
    for came, array in zip(found.values(), wanted, strict=True):
        largest = max(1, np.abs(array).max())
        np.testing.assert_allclose(came, array.ravel(), rtol=0, atol=1e-5 * largest)
