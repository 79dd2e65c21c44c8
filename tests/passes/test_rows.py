"""rows: kernels over the same rows become one that takes a few rows through all of them."""

from tests.passes.programs import after, graph

SOFTMAX = """
    %0 = leaf f32[40,50]
    %1 = max f32[40,1] (%0) dims=[1] ties="even"
    %2 = expand f32[40,50] (%1) shape=[40,50]
    %3 = sub f32[40,50] (%0, %2)
    %4 = exp f32[40,50] (%3)
    %5 = sum f32[40,1] (%4) dims=[1]
    %6 = expand f32[40,50] (%5) shape=[40,50]
    %7 = div f32[40,50] (%4, %6)
    return %7
"""


def left(body, skip=()):
    """Return the schedule after the pass, and the bytes of the arena."""
    name = "arena" if "arena" not in skip else "dedupe"
    assembly = after(name, graph(body), skip)
    return assembly.schedule, assembly.arena


def labels(body, skip=()):
    """Return the labels of the kernels."""
    return left(body, skip)[0].labels


def test_a_softmax_is_one_kernel_and_nothing_of_it_reaches_memory():
    schedule, arena = left(SOFTMAX)
    assert schedule.labels == ["max+exp+sum+div"]
    assert [part.kernel.kind for part in schedule.kernels[0].parts] == [
        "reduce", "map", "reduce", "map"]  # fmt: skip
    assert arena == 0
    assert [n.op.name for n in schedule.stored] == ["div"]


def test_without_it_each_step_is_a_kernel():
    schedule, arena = left(SOFTMAX, skip=("rows",))
    assert schedule.labels == ["max", "exp", "sum", "div"]
    assert arena > 0


def test_a_layer_norm_is_one_kernel():
    body = """
        %0 = leaf f32[4,9,50]
        %1 = sum f32[4,9,1] (%0) dims=[2]
        %2 = expand f32[4,9,50] (%1) shape=[4,9,50]
        %3 = sub f32[4,9,50] (%0, %2)
        %4 = mul f32[4,9,50] (%3, %3)
        %5 = sum f32[4,9,1] (%4) dims=[2]
        %6 = sqrt f32[4,9,1] (%5)
        %7 = expand f32[4,9,50] (%6) shape=[4,9,50]
        %8 = div f32[4,9,50] (%3, %7)
        return %8
    """
    schedule, arena = left(body)
    assert [k.kind for k in schedule.kernels] == ["rows"]
    assert arena == 0


def test_what_others_read_keeps_its_memory():
    schedule, _ = left(SOFTMAX.replace("return %7", "return %7, %5, %4"))
    assert schedule.labels == ["max+exp+sum+div"]
    kernel = schedule.kernels[0]
    assert [b.size for b in kernel.params["private"]] == [40]
    written = [n.op.name for n, b in zip(schedule.values[0], kernel.buffers, strict=True)
               if b.written]  # fmt: skip
    assert sorted(written) == ["div", "exp", "sum"]


def test_leading_dims_may_be_many_and_the_last_ones_reduced_together():
    body = """
        %0 = leaf f32[3,5,6,7]
        %1 = sum f32[3,5,1,1] (%0) dims=[2,3]
        %2 = expand f32[3,5,6,7] (%1) shape=[3,5,6,7]
        %3 = sub f32[3,5,6,7] (%0, %2)
        return %3
    """
    assert labels(body) == ["sum+sub"]


def test_a_variance_goes_over_the_columns_of_its_mean():
    body = """
        %0 = leaf f32[60,{c},{n}]
        %1 = sum f32[{kept}] (%0) dims=[{dims}]
        %2 = expand f32[60,{c},{n}] (%1) shape=[60,{c},{n}]
        %3 = sub f32[60,{c},{n}] (%0, %2)
        %4 = mul f32[60,{c},{n}] (%3, %3)
        %5 = sum f32[{kept}] (%4) dims=[{dims}]
        return %5
    """
    columns = body.format(c=7, n=800, kept="1,7,800", dims="0")
    assert labels(columns) == ["sum"]
    assert left(columns)[0].kernels[0].params["columns"]
    channels = body.format(c=7, n=800, kept="1,7,1", dims="0,2")
    assert labels(channels) == ["sum"]
    assert labels(channels, skip=("rows",)) == ["sum", "sum"]


def test_rows_that_meet_other_rows_are_not_joined():
    across = """
        %0 = leaf f32[40,40]
        %1 = sum f32[40,1] (%0) dims=[1]
        %2 = reshape f32[1,40] (%1) shape=[1,40]
        %3 = expand f32[40,40] (%2) shape=[40,40]
        %4 = sub f32[40,40] (%0, %3)
        return %4
    """
    assert labels(across) == ["sum", "sub"]
    shifted = """
        %0 = leaf f32[40,50]
        %1 = sum f32[40,1] (%0) dims=[1]
        %2 = slice f32[39,1] (%1) starts=[1,0] sizes=[39,1] steps=[1,1]
        %3 = pad f32[40,1] (%2) low=[0,0] high=[1,0] value=0.0
        %4 = expand f32[40,50] (%3) shape=[40,50]
        %5 = sub f32[40,50] (%0, %4)
        return %5
    """
    assert "sum+sub" not in labels(shifted)
    down = SOFTMAX.replace("dims=[1]", "dims=[0]").replace("f32[40,1]", "f32[1,50]")
    assert labels(down) == ["max", "exp", "sum", "div"]


def test_a_part_of_a_larger_buffer_is_not_joined():
    body = """
        %0 = leaf f32[40,50]
        %1 = sum f32[40,1] (%0) dims=[1]
        %2 = expand f32[40,50] (%1) shape=[40,50]
        %3 = sub f32[40,50] (%0, %2)
        %4 = concat f32[80,50] (%3, %0) dim=0
        return %4
    """
    schedule, _ = left(body)
    assert all(b.size != 4000 for k in schedule.kernels for part in k.parts
               for b in part.kernel.buffers)  # fmt: skip


def test_a_kernel_waits_for_no_one_that_needs_it_first():
    """The product needs the first reduction and the last map the product: they stay apart."""
    body = """
        %0 = leaf f32[40,40]
        %1 = sum f32[40,1] (%0) dims=[1]
        %2 = expand f32[40,40] (%1) shape=[40,40]
        %3 = sub f32[40,40] (%0, %2)
        %4 = matmul f32[40,40] (%3, %0)
        %5 = add f32[40,40] (%4, %3)
        %6 = sum f32[40,1] (%5) dims=[1]
        return %6
    """
    assert labels(body) == ["sum+sub", "matmul", "sum"]


def test_a_kernel_waits_for_some_others_but_not_for_long():
    """What it reads would have to be kept: memory that nothing else needs."""
    for steps in (3, 12):
        chain = "\n".join(
            f"        %{2 + i} = cumsum f32[40,50] (%{1 + i if i else 0}) dim=1 reverse=false"
            for i in range(steps)
        )
        end = steps + 2
        body = f"""
        %0 = leaf f32[40,50]
        %1 = sum f32[40,1] (%0) dims=[1]
{chain}
        %{end} = expand f32[40,50] (%1) shape=[40,50]
        %{end + 1} = sub f32[40,50] (%{end - 1}, %{end})
        return %{end + 1}
    """
        assert ("sum+sub" in labels(body)) == (steps == 3)


def test_a_kernel_hurries_where_another_in_between_reads_what_the_rows_made():
    """The gradients of a layer norm's weight stand between its rows and those of the input's."""
    body = """
        %0 = leaf f32[40,50]
        %1 = sum f32[40,1] (%0) dims=[1]
        %2 = expand f32[40,50] (%1) shape=[40,50]
        %3 = sub f32[40,50] (%0, %2)
        %4 = mul f32[40,50] (%3, %0)
        %5 = exp f32[40,50] (%4)
        %6 = sum f32[1,50] (%4) dims=[0]
        %7 = sum f32[40,1] (%5) dims=[1]
        %8 = expand f32[40,50] (%7) shape=[40,50]
        %9 = div f32[40,50] (%5, %8)
        return %9, %6
    """
    schedule, _ = left(body)
    assert sorted(k.kind for k in schedule.kernels) == ["reduce", "rows"]
    rows, column = sorted(schedule.labels, key=len, reverse=True)
    assert rows.endswith("div")
    assert column == "sum"
