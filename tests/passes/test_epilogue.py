"""epilogue: a map that alone reads a convolution's result is done to it piece by piece."""

import numpy as np
import pytest

import tenor as tn
from tenor.config import config
from tenor.engine.trace import reset_trie
from tests.passes.programs import after, graph

F = tn.nn.functional
BODY = """
    %0 = leaf f32[2,3,8,8]
    %1 = leaf f32[4,3,3,3]
    %2 = conv f32[2,4,8,8] (%0, %1) stride=[1,1] padding=[[1,1],[1,1]] dilation=[1,1] groups=1
    %3 = leaf f32[2,4,8,8]
    %4 = add f32[2,4,8,8] (%2, %3)"""


def program(body, skip=()):
    return after("emit", graph(body), skip).program


def labels(body, skip=()):
    return [launch.label for launch in program(body, skip).launches]


def test_a_map_joins_the_convolution_and_its_result_needs_no_memory():
    made = program(BODY + "\n    return %4\n")
    assert [launch.label for launch in made.launches] == ["conv+add"]
    assert made.arena == 0
    assert labels(BODY + "\n    return %4\n", ("epilogue",)) == ["conv", "add"]


@pytest.mark.parametrize(
    ("image", "weight", "channels"), [(8, "4,3,3,3", 3), (8, "64,64,1,1", 64), (20, "40,8,1,1", 8)]
)
def test_sums_meet_it_in_registers_unless_places_differ(image, weight, channels):
    out = weight.partition(",")[0]
    shape, padding = f"{out},{image},{image}", int("3,3" in weight)
    body = f"""
        %0 = leaf f32[1,{channels},{image},{image}]
        %1 = leaf f32[{weight}]
        %2 = conv f32[1,{shape}] (%0, %1) stride=[1,1] padding=[[{padding},{padding}],"""
    body += f"""[{padding},{padding}]] dilation=[1,1] groups=1
        %3 = leaf f32[1,{shape}]
        %4 = add f32[1,{shape}] (%2, %3)
        %5 = leaf f32[1,{out},1,1]
        %6 = rsqrt f32[1,{out},1,1] (%5)
        %7 = expand f32[1,{shape}] (%6) shape=[1,{shape}]
        %8 = mul f32[1,{shape}] (%4, %7)
        %9 = leaf f32[1,1,{image},{image}]
        %10 = expand f32[1,{shape}] (%9) shape=[1,{shape}]
        %11 = mul f32[1,{shape}] (%8, %10)
    """
    assert ".after" not in program(body + "    return %8\n").texts[-1]
    assert ".after" in program(body + "    return %11\n").texts[-1]


@pytest.mark.parametrize(
    "rest",
    [
        "    return %2, %4",  # the result is wanted as well
        "    %5 = sum f32[1,1,1,1] (%2) dims=[0,1,2,3]\n    return %4, %5",  # and so here
        """    %5 = permute f32[2,4,8,8] (%2) dims=[0,1,3,2]
               %6 = add f32[2,4,8,8] (%5, %3)
               return %6""",
    ],
)
def test_not_where_others_read_the_result_or_it_is_read_elsewhere(rest):
    assert "conv" in labels(BODY + "\n" + rest + "\n")


def test_a_map_that_looks_at_the_place_does_not_join():
    body = (
        BODY
        + """
        %5 = iota f32[8] length=8 dtype=f32
        %6 = reshape f32[1,1,1,8] (%5) shape=[1,1,1,8]
        %7 = expand f32[2,4,8,8] (%6) shape=[2,4,8,8]
        %8 = mul f32[2,4,8,8] (%4, %7)
        return %8
    """
    )
    assert labels(body)[0] == "conv"


def test_a_value_written_over_an_input_of_the_convolution_does_not_join():
    body = BODY.replace("[4,3,3,3]", "[3,3,3,3]").replace("[2,4,8,8]", "[2,3,8,8]")
    body = body.replace("(%2, %3)", "(%2, %0)")
    whole = graph(body + "\n    return %4\n")
    whole.updates = ((whole.nodes[0], 0),)
    made = after("emit", whole, ()).program
    assert made.donated == [(0, 0)]
    assert [launch.label for launch in made.launches] == ["conv", "add"]


CASES = {
    "windows": ((2, 3, 9, 11), (5, 3, 3, 3), {"padding": 1}),
    "channels": ((2, 64, 7, 9), (130, 64, 3, 3), {"padding": 1, "stride": 2}),
    "tiles": ((3, 40, 13, 10), (70, 40, 3, 3), {"padding": 1}),
    "pointwise": ((2, 20, 17, 19), (33, 20, 1, 1), {}),
    "pointwise, few places": ((3, 70, 5, 7), (130, 70, 1, 1), {}),
    "groups": ((2, 12, 9, 9), (18, 4, 3, 3), {"groups": 3}),
    "depthwise": ((2, 33, 12, 9), (33, 1, 3, 3), {"groups": 33, "stride": 2}),
    "whole image": ((4, 6, 3, 3), (9, 6, 3, 3), {}),
    "many rows": ((1, 8, 130, 60), (9, 8, 5, 5), {"padding": 2}),
    "line": ((2, 4, 300), (6, 4, 9), {"padding": 4}),
    "solid": ((1, 3, 5, 6, 7), (4, 3, 2, 2, 2), {}),
}


FOLLOWING = {
    "numbers of channels": lambda y, scale, shift, _: tn.relu(y * scale + shift) - 0.5 * y,
    "worked out": lambda y, scale, shift, _: (y - shift) * (scale * scale + 0.1).rsqrt(),
    "beside": lambda y, scale, _, other: (y * scale + other).clamp(0, 6),
    "of places": lambda y, _, shift, other: y * other[:1, :1] + shift,
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("following", FOLLOWING.values(), ids=FOLLOWING.keys())
@pytest.mark.parametrize("dtype", [tn.float32, tn.bfloat16], ids=str)
def test_the_bits_are_the_same(case, following, dtype, monkeypatch):
    x, w, arguments = case
    rng = np.random.default_rng(7)
    conv = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[len(x)]
    arrays = [rng.standard_normal(shape, np.float32) for shape in (x, w, w[0], w[0])]
    x, w, scale, shift = (tn.tensor(a).to(dtype) for a in arrays)
    scale, shift = (v.reshape(-1, *[1] * (x.ndim - 2)) for v in (scale, shift))
    shape = conv(x, w, **arguments).shape
    other = tn.tensor(rng.standard_normal(shape, np.float32)).to(dtype)

    def result():
        y = conv(x, w, **arguments)
        return following(y, scale, shift, other).float().numpy().copy()

    found = result()
    monkeypatch.setattr(config, "skip_passes", frozenset(["epilogue"]))
    reset_trie()
    np.testing.assert_array_equal(found, result())


@pytest.mark.parametrize("size", [5, 7, 14, 20])
@pytest.mark.parametrize("channels", [64, 96])
def test_what_is_added_may_lie_where_the_result_goes(size, channels, monkeypatch):
    """A block's input is read last where its result is written: every place of it once."""
    rng = np.random.default_rng(3)
    x, *weights = (
        tn.tensor(rng.standard_normal(s, np.float32))
        for s in (
            (1, channels, size, size), (channels, channels, 1, 1), (2 * channels, channels, 1, 1),
            (2 * channels, 1, 3, 3), (channels, 2 * channels, 1, 1), (channels, 1, 3, 3),
        )
    )  # fmt: skip

    def result():
        first, wide, rows, narrow, last = weights
        y = F.conv2d(x, first).relu()
        z = F.conv2d(F.conv2d(y, wide).relu(), rows, padding=1, groups=2 * channels)
        y = F.conv2d(z.relu(), narrow) + y
        return (F.conv2d(y, last, padding=1, groups=channels) + y).numpy().copy()

    found = result()
    monkeypatch.setattr(config, "skip_passes", frozenset(["epilogue", "arena"]))
    reset_trie()
    np.testing.assert_array_equal(found, result())


def test_two_convolutions_whose_activations_share_a_kernel_keep_apart():
    """One's result waits where the other's activation is written."""
    rng = np.random.default_rng(0)
    x, *weights = (
        tn.tensor(rng.standard_normal(s, np.float32))
        for s in ((2, 8, 16, 16), (8, 8, 3, 3), (8, 8, 3, 3))
    )
    first, second = (tn.nn.functional.conv2d(x, w, padding=1) for w in weights)
    wanted = [y.clamp(min=0).numpy() for y in (first, second)]
    first, second = (tn.nn.functional.conv2d(x, w, padding=1) for w in weights)
    later, sooner = second.relu(), first.relu()
    del first, second
    np.testing.assert_array_equal(later.numpy(), wanted[1])
    np.testing.assert_array_equal(sooner.numpy(), wanted[0])


def test_a_result_that_is_a_part_of_a_concatenation_stays_where_it_lies():
    rng = np.random.default_rng(0)
    x, w = (tn.tensor(rng.standard_normal(s, np.float32)) for s in ((2, 8, 9, 9), (8, 8, 3, 3)))
    wanted = F.conv2d(x, w, padding=1).numpy()
    y = F.conv2d(x, w, padding=1)
    both, active = tn.cat([y, x], 0), y.relu()
    del y
    np.testing.assert_array_equal(active.numpy(), np.maximum(wanted, 0))
    np.testing.assert_array_equal(both.numpy(), np.concatenate([wanted, x.numpy()]))
