"""Small graphs as sources, written and run by LiteRT."""

import numpy as np

from tenor.compiler.emit import reference
from tenor.export.source import Source
from tenor.export.tflite.check import Runner
from tenor.export.tflite.convert import Form, converted
from tenor.ir import op as ops


def source_of_graph(graph, arrays, known=()):
    """Return a graph as a source: its leaves are inputs, or weights where their place is known."""
    leaves = [n for n in graph.nodes if n.op is ops.LEAF]
    given = {f"x{i}": (n, a) for i, (n, a) in enumerate(zip(leaves, arrays, strict=True))}
    fixed = {k: v for i, (k, v) in enumerate(given.items()) if i in known}
    free = {k: v for k, v in given.items() if k not in fixed}
    order = [*(n for n, _ in free.values()), *(n for n, _ in fixed.values())]
    rest = [n for n in graph.nodes if n.op is not ops.LEAF]
    outputs = {f"y{i}": n for i, n in enumerate(graph.outputs)}
    answers = reference.run(graph, arrays, [])
    return Source(
        name="case",
        signature="predict",
        graph=type(graph)([*order, *rest], graph.outputs),
        inputs={k: n for k, (n, _) in free.items()},
        weights={k: a for k, (_, a) in fixed.items()},
        outputs=outputs,
        rows={k: a for k, (_, a) in free.items()},
        answers=dict(zip(outputs, answers, strict=True)),
        batch=0,
    )


def run(source, form=None, schemes=None):
    """Return what LiteRT answers to a source's rows, and the operators of the file."""
    data, operators = converted(source, schemes or {}, form or Form())
    return Runner(data, source)(source.rows), operators


def agree(source, tolerance=1e-5, form=None, label=""):
    """Check that LiteRT answers as the reference interpreter does; return the operators."""
    got, operators = run(source, form)
    for name, wanted in source.answers.items():
        assert got[name].shape == wanted.shape, label
        assert got[name].dtype == wanted.dtype, label
        scale = np.abs(wanted[np.isfinite(wanted)]).max(initial=1e-6)
        atol = tolerance * scale if wanted.dtype.kind == "f" else 0
        np.testing.assert_allclose(got[name], wanted, rtol=0, atol=atol, err_msg=f"{label} {name}")
    return operators
