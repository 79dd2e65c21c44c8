"""The benchmark does the same work on every library: first losses and answers agree."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tenor as tn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import catalogue
import interleave
import report
from peers import tenor_recorded, torch_eager


@pytest.fixture(autouse=True)
def one_thread():
    yield
    torch.set_num_threads(1)
    tn.set_num_threads(2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["T1", "T2", "T5", "T6", "T7", "T9", "S1", "S2", "I1", "I5"])
def test_first_results_are_pytorchs(name):
    row = catalogue.row(name)
    ours, theirs = (peer.session(row, 1, None) for peer in (tenor_recorded, torch_eager))
    for _ in range(3):
        ours.step()
        theirs.step()
    np.testing.assert_allclose(ours.check(), theirs.check(), rtol=2e-4, atol=2e-5)


def test_every_row_of_the_issue_is_there():
    assert [n for n in catalogue.ROWS if n[0] == "T"] == [f"T{i}" for i in range(1, 10)]
    assert [n for n in catalogue.ROWS if n[0] == "I"] == [f"I{i}" for i in range(1, 7)]
    families = {r.family for n, r in catalogue.ROWS.items() if catalogue.kind(n) == "kernel"}
    assert {"convolution", "attention"} <= families


def test_a_run_writes_tables_and_a_page_that_needs_no_network(tmp_path):
    """Two peers take turns in processes of their own; the page holds its plot."""
    pytest.importorskip("matplotlib")
    plan = interleave.Plan(("tenor", "torch"), (1,), 2, 0.01, cold=False, folder=tmp_path)
    result = interleave.measure("S1", 1, plan, lambda _: None)
    assert result.void == ""
    assert result.best > 0
    assert [len(t.rounds) for t in result.timings.values()] == [2, 2]
    assert result.timings["tenor"].counts["plans"] == 0
    report.write_json(tmp_path / "results.json", [result], {})
    report.page(tmp_path / "results.html", [result])
    text = (tmp_path / "results.html").read_text()
    assert "<svg" in text
    assert "http" not in text.replace("http://www.w3.org", "").replace("http://purl", "").replace(
        "https://matplotlib.org", ""
    ).replace("http://creativecommons", "")


def test_results_that_differ_make_a_row_void():
    timings = {"tenor": interleave.Timing(rounds=[1.0]), "torch": interleave.Timing(rounds=[2.0])}
    result = interleave.Result("S1", "", "training", 1, timings)

    class Ended:
        def __init__(self, value):
            self.value = value

        def ask(self, do):
            return {"peak": 1, "check": [self.value]}

    interleave._close({"tenor": Ended(1.0), "torch": Ended(1.5)}, result)
    assert "torch gives other results" in result.void
