"""emit: the program's texts, launches and pointers."""

from tenor.compiler import compile
from tests.passes.programs import TARGET, graph

BODY = """
    %0 = leaf f32[30,40]
    %1 = scalar f32[]
    %2 = scalar i64[]
    %3 = cumsum f32[30,40] (%0) dim=1 reverse=false
    %4 = cast f32[] (%2) dtype=f32
    %5 = add f32[] (%1, %4)
    %6 = mul f32[30,40] (%3, %5)
    return %6
"""


def test_a_program_names_its_kernels_by_their_text():
    program = compile(graph(BODY), TARGET)
    assert len(program.texts) == len(program.symbols) == len(program.shapes)
    for text, symbol in zip(program.texts, program.symbols, strict=True):
        assert symbol.startswith("k_")
        assert f"@{symbol}(" in text
        assert "@k_0" not in text


def test_pointers_lead_to_inputs_scalars_arena_and_outputs():
    program = compile(graph(BODY), TARGET)
    spaces = {p.space for launch in program.launches for p in launch.pointers}
    assert spaces == {"input", "scalar", "arena", "output"}
    assert program.num_inputs == 1
    assert program.scalars == ["f64", "i64"]
    assert program.output_sizes == [30 * 40 * 4]
    assert program.arena == 30 * 40 * 4


def test_launches_follow_what_they_read():
    program = compile(graph(BODY), TARGET)
    assert [launch.label for launch in program.launches] == ["cumsum", "mul"]


def test_the_text_depends_on_the_program_alone():
    first, second = (compile(graph(BODY), TARGET) for _ in range(2))
    assert first.texts == second.texts
    assert first == second


def test_donated_outputs_are_named():
    program = compile(graph("""
        %0 = leaf f32[30]
        %1 = leaf f32[30]
        %2 = add f32[30] (%0, %1)
        return %2
        update %1 0
    """), TARGET)  # fmt: skip
    assert program.donated == [(1, 0)]
