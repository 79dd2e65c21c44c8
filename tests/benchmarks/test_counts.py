"""What a training step of each workload costs in counts: no more than was agreed on.

Where a change makes a step cheaper, write the new numbers down: `python -m
tests.benchmarks.test_counts` prints them.
"""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import counting  # noqa: E402
from peers import tenor_recorded  # noqa: E402
from workloads.training import TRAINING  # noqa: E402

AGREED = Path(__file__).with_name("counts.json")
ROWS = [name for name in TRAINING if name[0] == "T"]


def counts_of(name):
    """Return the counts of a warm step; its loss is a number."""
    session = tenor_recorded.session(TRAINING[name], 1, None)
    session.step()
    session.step()
    return counting.of_a_step(session.step)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_a_step_costs_no_more_than_agreed(name):
    found, agreed = counts_of(name), json.loads(AGREED.read_text())[name]
    assert found["plans"] == 0, "a warm step compiles nothing"
    more = {k: (found[k], limit) for k, limit in agreed.items() if found[k] > limit}
    assert not more, f"{name}: more than agreed (found, agreed): {more}"


if __name__ == "__main__":
    print(json.dumps({name: counts_of(name) for name in ROWS}, indent=1))
