"""Running a script and listening: what is found, and that the script cannot tell."""

import sys

import pytest
from rich.console import Console

from tenor.engine import backend
from tenor.errors import ArgumentError
from tenor.explain import STAGES, explain_script, listening, stage, summary

SCRIPT = """\
import sys
import tenor as tn

assert __name__ == "__main__"
x = tn.ones(4, 3)
w = tn.full((3, 2), 0.5)
for _ in range(3):
    y = (x @ w).relu()
    total = float(y.sum())
print("total", total, sys.argv[1:])
left = (x - 1).exp()
"""


def written(tmp_path, text):
    path = tmp_path / "script.py"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return explain_script(written(tmp_path_factory.mktemp("explain"), SCRIPT), ["a", "-b"])


def shown(renderable):
    console = Console(width=100, record=True, file=sys.stderr)
    console.print(renderable)
    return console.export_text()


def test_the_script_runs_as_main_with_its_arguments(tmp_path, capsys):
    argv, path = list(sys.argv), list(sys.path)
    explain_script(written(tmp_path, SCRIPT), ["a", "-b"], measure=False)
    assert capsys.readouterr().out == "total 12.0 ['a', '-b']\n"
    assert (sys.argv, sys.path) == (argv, path)
    assert backend.observers == []


def test_each_compiled_graph_is_a_program(report):
    assert report.status == 0
    assert report.failure == ""
    observed = [p for p in report.programs if not p.unobserved]
    kinds = [k.kind for p in observed for k in p.kernels]
    # Compiled the first time round; replayed after that.
    assert 1 <= kinds.count("matmul") <= 2


def test_lines_are_the_users(report):
    texts = {line.text for p in report.programs for line in p.lines}
    assert "y = (x @ w).relu()" in texts
    assert "total = float(y.sum())" in texts
    line = next(s for p in report.programs for s in p.lines if "relu" in s.text)
    assert line.line == 8
    assert "matmul" in dict(line.operations)
    program = next(p for p in report.programs if line in p.lines)
    matmul = next(k for k in program.kernels if k.kind == "matmul")
    assert matmul.lines == (8,)
    # The product, and what takes its tiles.
    assert {"matmul", "where"} <= set(dict(matmul.operations))
    assert program.main_line in program.lines
    assert "8" in program.span or int(program.span.split("-")[0]) < 8


def test_what_was_left_pending_is_shown_as_unobserved(report):
    last = report.programs[-1]
    assert last.unobserved
    assert any("exp" in dict(s.operations) for s in last.lines)


def test_a_failing_script_is_reported_up_to_there(tmp_path):
    report = explain_script(
        written(tmp_path, "import tenor as tn\nprint(tn.ones(2) * 3)\n1 / 0\n"), measure=False
    )
    assert report.status == 1
    assert "ZeroDivisionError" in report.failure
    assert "runpy" not in report.failure
    assert report.programs
    assert "ZeroDivisionError" in shown(summary(report))


def test_an_interrupted_script_is_reported_up_to_there(tmp_path):
    text = "import tenor as tn\nprint(tn.ones(2) * 3)\nraise KeyboardInterrupt\n"
    report = explain_script(written(tmp_path, text), measure=False)
    assert report.status == 130
    assert "interrupted" in report.failure
    assert len(report.programs) == 1


def test_an_error_of_ours_ends_at_the_scripts_last_line(tmp_path):
    text = "import tenor as tn\ndef f(x):\n    return x + tn.ones(4)\nf(tn.ones(3))\n"
    script = written(tmp_path, text)
    report = explain_script(script, measure=False)
    assert "return x + tn.ones(4)" in report.failure
    assert "f(tn.ones(3))" in report.failure
    assert "ShapeError" in report.failure
    assert "fix: line the dims up" in report.failure
    assert report.failure.count('File "') == 2
    assert report.programs == []  # what the failure left behind computes nothing


@pytest.mark.parametrize(
    ("code", "said"), [("3", "exit status 3"), ("'gave up'", "left with gave up")]
)
def test_how_a_script_left_is_told(tmp_path, code, said):
    report = explain_script(written(tmp_path, f"import sys\nsys.exit({code})\n"), measure=False)
    assert said in report.failure


@pytest.mark.parametrize(("code", "status"), [("0", 0), ("None", 0), ("3", 3), ("'gone'", 1)])
def test_an_exit_status_is_kept(tmp_path, code, status):
    report = explain_script(written(tmp_path, f"import sys\nsys.exit({code})\n"), measure=False)
    assert report.status == status
    assert bool(report.failure) == bool(status)


def test_a_syntax_error_is_the_scripts(tmp_path):
    report = explain_script(written(tmp_path, "x = (\n"), measure=False)
    assert "SyntaxError" in report.failure


def test_a_missing_script_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="must be a Python file"):
        explain_script(tmp_path / "none.py")
    with pytest.raises(ArgumentError, match="must be a Python file"):
        explain_script(tmp_path)


def test_a_script_next_to_its_modules(tmp_path):
    (tmp_path / "beside.py").write_text("VALUE = 4\n")
    report = explain_script(written(tmp_path, "import beside\nassert beside.VALUE == 4\n"))
    assert report.failure == ""
    assert report.programs == []
    assert "Nothing was computed" in shown(summary(report))


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_shows_in_a_terminal(report, name):
    text = shown(stage(report.programs[0], name))
    assert text.startswith(f"program 1: {name}")
    assert len(text.splitlines()) > 2


def test_the_summary_names_script_and_programs(report):
    text = shown(summary(report))
    assert "script.py" in text
    assert f"{len(report.programs)} programs" in text


def test_listening_ends():
    with listening() as graphs:
        assert len(backend.observers) == 1
    assert backend.observers == []
    assert graphs == []
