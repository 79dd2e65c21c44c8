"""Eight bits on machines of one family: other instructions, the same answers."""

import numpy as np
import pytest

from tenor.export.edge import export_edge
from tenor.export.fold import folded
from tenor.export.quantize import calibrate
from tenor.export.source import opened, source_of
from tenor.runtime import cpu
from tests.export import zoo
from tests.export.edge.machines import answered


@pytest.mark.skipif(cpu.machine() != "x86_64" or "+avx512vnni" not in cpu.host_target().features,
                    reason="needs a processor with VNNI")  # fmt: skip
@pytest.mark.parametrize("name", ["digits", "keywords"])
def test_products_of_bytes_answer_as_products_of_pairs_do(name, tmp_path):
    path, _ = zoo.bundle(name, tmp_path / f"{name}.tnr")
    source = folded(source_of(opened(path), batch=1))
    how = calibrate(source, dict(source.rows))
    given = [source.rows[n][:1] for n in source.inputs]
    found = []
    for target in ("x86_64-linux", "x86_64-vnni"):
        made = export_edge(path, tmp_path / target, target=target, quantization=how)
        found.append(answered(made, source, given)[0])
    np.testing.assert_array_equal(*found)
    floats = export_edge(path, tmp_path / "float", target="x86_64-vnni")
    exact = answered(floats, source, given)[0]
    assert 0 < np.abs(found[0] - exact).max() < 0.05 * np.abs(exact).max()
