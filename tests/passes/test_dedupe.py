"""dedupe: kernels that do the same are lowered once."""

from tests.passes.programs import after, graph


def layers(count, shape="f32[100]"):
    """Return a chain of the same kernel."""
    lines = [f"%0 = leaf {shape}"]
    lines += [f"%{k} = cumsum {shape} (%{k - 1}) dim=0 reverse=false" for k in range(1, count + 1)]
    return graph("\n".join([*lines, f"return %{count}"]))


def test_equal_kernels_are_one_body():
    assembly = after("dedupe", layers(6))
    assert len(assembly.bodies) == 1
    assert assembly.uses == [0] * 6


def test_without_it_each_launch_has_a_body_and_the_program_the_same_texts():
    assembly = after("dedupe", layers(6), skip=("dedupe",))
    assert len(assembly.bodies) == 6
    assert assembly.uses == [0, 1, 2, 3, 4, 5]
    texts = [after("emit", layers(6), skip).program.texts for skip in ((), ("dedupe",))]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 1


def test_maps_that_differ_in_a_literal_are_different():
    body = """
        %0 = leaf f32[100]
        %1 = const f32[] value=0.0 dtype=f32
        %2 = const f32[] value=-0.0 dtype=f32
        %3 = expand f32[100] (%1) shape=[100]
        %4 = expand f32[50] (%2) shape=[50]
        return %3, %4
    """
    assert len(after("dedupe", graph(body)).bodies) == 2
    assert len(after("emit", graph(body)).program.texts) == 2


def test_maps_of_one_run_share_their_code_whatever_their_length():
    body = """
        %0 = leaf f32[100]
        %1 = leaf f32[33,3]
        %2 = exp f32[100] (%0)
        %3 = exp f32[33,3] (%1)
        return %2, %3
    """
    program = after("emit", graph(body)).program
    assert len(set(program.symbols)) == 1
    assert sorted(tiles for tiles, _, _ in program.shapes) == [99, 100]


def test_a_long_chain_that_uses_each_value_twice_is_told_apart_quickly():
    # Compared as trees, two of these would take 2**120 steps.
    lines = ["%0 = leaf f32[100]", "%1 = leaf f32[200]"]
    for k in range(2, 242):
        shape = "f32[100]" if k % 2 == 0 else "f32[200]"
        lines.append(f"%{k} = mul {shape} (%{k - 2}, %{k - 2})")
    assembly = after("emit", graph("\n".join([*lines, "return %240, %241"])))
    assert len(set(assembly.program.symbols)) == 1


def test_templates_that_differ_in_the_sign_of_a_zero_are_different():
    body = """
        %0 = leaf i64[3]
        %1 = leaf f32[3]
        %2 = const f32[] value=0.0 dtype=f32
        %3 = const f32[] value=-0.0 dtype=f32
        %4 = expand f32[9] (%2) shape=[9]
        %5 = expand f32[9] (%3) shape=[9]
        %6 = put f32[9] (%4, %0, %1) dim=0 mode="set"
        %7 = put f32[9] (%5, %0, %1) dim=0 mode="set"
        return %6, %7
    """
    assert len(after("dedupe", graph(body)).bodies) == 2
