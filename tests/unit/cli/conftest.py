"""The commands in process, and a small model to give them."""

import numpy as np
import pytest
from click.testing import CliRunner

import tenor as tn
from tenor.cli import console
from tenor.cli.app import app


@pytest.fixture
def tenor(monkeypatch):
    """Return a function that runs a command: (exit status, output, errors)."""
    monkeypatch.setattr(console.settings, "traceback", False)

    def run(*arguments, stdin=None):
        result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
        raised = result.exception
        if raised is not None and not isinstance(raised, SystemExit):
            raise raised
        return result.exit_code, result.stdout, result.stderr

    return run


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return a small model's file, and its inputs and answers."""
    tn.manual_seed(3)
    model = tn.nn.Sequential(tn.nn.Linear(4, 8), tn.nn.ReLU(), tn.nn.Linear(8, 3))
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    path = tmp_path_factory.mktemp("cli") / "small.tnr"
    tn.save.save(model, path, example_inputs=x[:2], description="three <classes>")
    with tn.no_grad():
        y = model(tn.tensor(x)).numpy().copy()
    return path, x, y
