"""channels: a pointwise convolution and the depthwise one behind it, a few channels at a time."""

import numpy as np
import pytest

import tenor as tn
from tenor.compiler.lower.convolution import conv
from tenor.config import config
from tenor.engine.trace import reset_trie
from tenor.ir.target import Target
from tests.passes.programs import after, graph

F = tn.nn.functional
BODY = """
    %0 = leaf f32[1,24,60,60]
    %1 = leaf f32[64,24,1,1]
    %2 = conv f32[1,64,60,60] (%0, %1) stride=[1,1] padding=[[0,0],[0,0]] dilation=[1,1] groups=1
    %3 = leaf f32[64,1,3,3]
    %4 = conv f32[1,64,60,60] (%2, %3) stride=[1,1] padding=[[1,1],[1,1]] dilation=[1,1] groups=64
"""


def program(body, skip=("prepare",)):
    return after("emit", graph(body), skip).program


def test_two_convolutions_are_one_kernel_and_what_is_between_them_needs_no_memory():
    joined = program(BODY + "    return %4\n")
    assert [launch.label for launch in joined.launches] == ["conv+conv"]
    assert joined.arena == 0
    tiles, scratch, cost = joined.shapes[0]
    assert tiles % 2 == 0
    assert scratch < 64 * 60 * 60 * 4
    apart = program(BODY + "    return %4\n", ("prepare", "channels"))
    assert [launch.label for launch in apart.launches] == ["conv", "conv"]
    assert apart.arena == 64 * 60 * 60 * 4
    assert cost == sum(shape[2] for shape in apart.shapes)


def test_not_where_what_is_between_is_small():
    labels = [
        x.label for x in program(BODY.replace("60,60]", "20,20]") + "    return %4\n").launches
    ]
    assert labels == ["conv", "conv"]


@pytest.mark.parametrize(
    "rest",
    [
        "    return %2, %4",  # what is between is wanted as well
        "    %5 = sum f32[1,1,1,1] (%2) dims=[0,1,2,3]\n    return %4, %5",  # and so here
    ],
)
def test_not_where_others_read_what_is_between(rest):
    labels = [launch.label for launch in program(BODY + rest + "\n").launches]
    assert "conv+conv" not in labels


@pytest.mark.parametrize(
    "body",
    [
        BODY.replace("groups=64", "groups=1").replace("[64,1,3,3]", "[64,64,3,3]"),
        BODY.replace("64", "70"),  # no even number of tiles
        BODY.replace("24,1,1]", "24,3,3]").replace("[[0,0],[0,0]]", "[[1,1],[1,1]]"),
    ],
)
def test_not_where_channels_go_into_each_other_or_make_no_tiles(body):
    labels = [launch.label for launch in program(body + "    return %4\n").launches]
    assert labels[-1] == "conv"


SMALL = """
    %0 = leaf f32[1,64,10,10]
    %1 = leaf f32[96,64,1,1]
    %2 = conv f32[1,96,10,10] (%0, %1) stride=[1,1] padding=[[0,0],[0,0]] dilation=[1,1] groups=1
    %3 = leaf f32[96,1,3,3]
    %4 = conv f32[1,96,10,10] (%2, %3) stride=[1,1] padding=[[1,1],[1,1]] dilation=[1,1] groups=96
    %5 = leaf f32[64,96,1,1]
    %6 = conv f32[1,64,10,10] (%4, %5) stride=[1,1] padding=[[0,0],[0,0]] dilation=[1,1] groups=1
"""


def marks(rest):
    """Return how each convolution's values lie."""
    kernels = after("channels", graph(SMALL + rest)).schedule.kernels
    return [
        [name for name in ("image_beside", "result_beside") if name in k.params]
        for k in kernels if k.kind == "conv"
    ]  # fmt: skip


def test_what_lies_between_convolutions_of_small_images_keeps_channels_side_by_side():
    assert marks("    return %6\n") == [
        ["result_beside"], ["image_beside", "result_beside"], ["image_beside"],
    ]  # fmt: skip


@pytest.mark.parametrize(("places", "direct"), [("10,10", True), ("5,5", False)])
def test_many_sums_lie_in_the_result_when_they_leave_registers(places, direct):
    text = SMALL.replace("10,10", places) + "    return %6\n"
    kernels = after("channels", graph(text)).schedule.kernels
    first, second, third = (k for k in kernels if k.kind == "conv")
    target = Target.x86_64_avx2()
    assert ("beside" in conv(first, target).function.callees) != direct
    assert "out" in conv(third, target).function.callees
    assert "in" in conv(second, target).function.callees


def test_not_where_others_see_it():
    assert marks("    return %4, %6\n") == [["result_beside"], ["image_beside"], []]
    rest = "    %7 = add f32[1,96,10,10] (%2, %4)\n    return %6, %7\n"
    assert marks(rest)[0] == []


CASES = {
    "few places": ((2, 64, 7, 9), 96, 1),
    "rows": ((1, 24, 48, 48), 64, 1),
    "strided": ((2, 16, 65, 52), 48, 2),
    "lanes": ((8, 64, 14, 14), 384, 1),
    "lanes, strided": ((8, 96, 14, 14), 192, 2),
    "large": ((1, 8, 80, 90), 32, 2),
    "long sums": ((1, 530, 50, 42), 64, 1),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("dtype", [tn.float32, tn.float64, tn.bfloat16], ids=str)
def test_the_bits_are_the_same(case, dtype, monkeypatch):
    shape, wide, stride = case
    rng = np.random.default_rng(11)
    shapes = shape, (wide, shape[1], 1, 1), (wide, 1, 3, 3), (64, wide, 1, 1), (wide, 1, 1)
    x, first, second, third, scale, shift = (
        tn.tensor(rng.standard_normal(s, np.float32)).to(dtype) for s in (*shapes, shapes[-1])
    )

    def result():
        y = (F.conv2d(x, first) * scale + shift).clamp(0, 6)
        y = F.conv2d(y, second, stride=stride, padding=1, groups=wide)
        return F.conv2d((y * shift).relu(), third).double().numpy().copy()

    found = result()
    monkeypatch.setattr(config, "skip_passes", frozenset(["channels"]))
    reset_trie()
    np.testing.assert_array_equal(found, result())


def test_a_map_that_reads_nothing_else_is_done_to_channels_side_by_side(monkeypatch):
    rng = np.random.default_rng(12)
    shapes = (1, 64, 7, 9), (96, 64, 1, 1), (96, 1, 3, 3), (64, 96, 1, 1)
    x, first, second, third = (tn.tensor(rng.standard_normal(s, np.float32)) for s in shapes)

    def result():
        y = F.conv2d(F.conv2d(x, first).relu(), second, padding=1, groups=96).relu()
        return F.conv2d(y, third).numpy().copy()

    found = result()
    monkeypatch.setattr(config, "skip_passes", frozenset(["channels"]))
    reset_trie()
    np.testing.assert_array_equal(found, result())
