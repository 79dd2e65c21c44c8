"""Every model of the zoo as a folder: both modules and the script answer as Python does."""

import numpy as np
import pytest

from tenor.export.web import export_web
from tests.export import zoo
from tests.export.web.engines import InWasmtime, in_node, jsonable


def exported(name, folder, **how):
    path, _ = zoo.bundle(name, folder / "m.tnr")
    export_web(path, folder / "web", **how)
    return folder / "web", opened_rows(path)


def opened_rows(path):
    from tenor.export.source import opened, source_of

    source = source_of(opened(path))
    return source.rows, source.answers


def near(came, wanted, by=1e-5):
    largest = max(1, np.abs(wanted).max())
    np.testing.assert_allclose(came, wanted, rtol=0, atol=by * largest)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_wasmtime_and_node(name, tmp_path):
    folder, (rows, answers) = exported(name, tmp_path, batch=2)
    given = [np.ascontiguousarray(a[:2]) for a in rows.values()]
    for kind in ("relaxed", "simd"):
        status, made = InWasmtime(folder, kind).run(*given)
        assert status == 0
        for key, came in made.items():
            near(came, answers[key][:2])
    body = "const m = await load(); return m.run(given);"
    made = in_node(folder, body, dict(zip(rows, map(jsonable, given), strict=True)))
    for key, came in made.items():
        near(np.reshape(came, answers[key][:2].shape), answers[key][:2])


@pytest.mark.parametrize("name", ["digits", "transformer"])
@pytest.mark.parametrize(("form", "by"), [("f16", 4e-3), ("int8", 6e-2)])
def test_weights_in_fewer_bits(name, form, by, tmp_path):
    full, (rows, answers) = exported(name, tmp_path)
    size = (full / "weights.bin").stat().st_size
    folder, _ = exported(name, tmp_path, weights=form)
    small = (folder / "weights.bin").stat().st_size
    assert small < size * {"f16": 0.52, "int8": 0.42}[form]
    given = [np.ascontiguousarray(a[:1]) for a in rows.values()]
    _, made = InWasmtime(folder, "simd").run(*given)
    found = in_node(folder, "const m = await load(); return m.run(given);",
                    dict(zip(rows, map(jsonable, given), strict=True)))  # fmt: skip
    for key, came in made.items():
        wanted = answers[key][:1]
        near(came, wanted, by)
        assert not np.array_equal(came, wanted)
        near(np.reshape(found[key], wanted.shape), came, 1e-6)  # two decoders, one answer
