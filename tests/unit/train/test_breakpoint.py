"""A breakpoint in forward: the loop is plain Python, and the debugger works in it."""

from __future__ import annotations

import io
import pdb
import sys

import numpy as np

import tenor as tn
from tenor import nn
from tenor.train import ProgressBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_breakpoint_in_forward_sees_values_and_goes_on():
    asked = io.StringIO("p float(x.sum())\np x.shape\nc\n")
    told = io.StringIO()

    class Net(nn.Module):
        def __init__(self):
            self.line = nn.Linear(2, 1)
            self.stop = True

        def forward(self, x):
            if self.stop:
                self.stop = False
                pdb.Pdb(stdin=asked, stdout=told, nosigint=True).set_trace()
            return self.line(x)

    model = tn.Model(Net())
    model.compile("sgd", "mse")
    tracer = sys.gettrace()
    try:
        history = model.fit(
            np.ones((8, 2)), np.ones((8, 1)), epochs=2, verbose=0,
            callbacks=[ProgressBar(Terminal())],
        )  # fmt: skip
    finally:
        sys.settrace(tracer)
    assert "16.0" in told.getvalue()
    assert "(8, 2)" in told.getvalue()
    assert "in forward" in told.getvalue() or "forward()" in told.getvalue()
    assert history.history["loss"][1] < history.history["loss"][0]
