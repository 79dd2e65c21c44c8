"""lower: each body becomes loops with a fixed number of tiles."""

from tenor.compiler import compile
from tenor.ir.target import Target
from tests.passes.programs import TARGET, after, graph

BODY = """
    %0 = leaf f32[300,400]
    %1 = exp f32[300,400] (%0)
    %2 = sum f32[300,1] (%1) dims=[1]
    %3 = argsort i64[300,400] (%0) dim=1 descending=false
    return %1, %2, %3
"""


def test_each_body_becomes_one_function():
    assembly = after("lower", graph(BODY))
    assert len(assembly.lowered) == len(assembly.bodies)
    for low in assembly.lowered:
        assert [p.type for p in low.function.params] == ["ptr", "i64", "i64", "ptr", "ptr"]
        assert low.tiles >= 1
        assert low.cost > 0


def test_a_tile_of_a_contiguous_map_is_an_element():
    body = """
        %0 = leaf f32[300,400]
        %1 = neg f32[300,400] (%0)
        return %1
    """
    (low,) = after("lower", graph(body)).lowered
    assert low.tiles == 300 * 400


def test_the_tiles_of_maps_and_reductions_do_not_depend_on_the_target():
    targets = (TARGET, Target.x86_64_avx512(), Target.aarch64())
    tiles = {tuple(compile(graph(BODY), t).shapes[k][0] for k in range(2)) for t in targets}
    assert len(tiles) == 1


def test_loops_can_be_read():
    (low,) = after("lower", graph("""
        %0 = leaf f32[300]
        %1 = neg f32[300] (%0)
        return %1
    """)).lowered  # fmt: skip
    text = low.function.text()
    assert "fneg" in text
    assert "for(" in text
