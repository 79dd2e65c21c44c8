"""Attention and transformer layers against PyTorch: names, masks, values, gradients."""

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, ShapeError

nn = tn.nn
FUTURE = np.triu(np.ones((5, 5), bool), 1)
PADDING = np.array([[False] * 4 + [True], [False] * 3 + [True] * 2])


def twins(name, *args, **kwargs):
    """Return a layer of ours and PyTorch's with the same random weights."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*args, **kwargs)
    for p in theirs.parameters():
        torch.nn.init.normal_(p, std=0.3)
    ours = getattr(nn, name)(*args, **kwargs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def masked(lib, options):
    """Return options with arrays as a library's tensors."""
    return {k: lib.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}


ATTENTION = [
    ({}, {}, [(5, 2, 8)]),
    ({"batch_first": True}, {}, [(2, 5, 8)]),
    ({"batch_first": True, "bias": False}, {"average_attn_weights": False}, [(2, 5, 8)]),
    ({"batch_first": True}, {"attn_mask": FUTURE}, [(2, 5, 8)]),
    ({"batch_first": True}, {"attn_mask": FUTURE, "key_padding_mask": PADDING}, [(2, 5, 8)]),
    ({"batch_first": True}, {"attn_mask": FUTURE * np.float32(-2)}, [(2, 5, 8)]),
    ({"batch_first": True}, {"attn_mask": np.repeat(FUTURE[None], 4, 0)}, [(2, 5, 8)]),
    ({}, {"attn_mask": FUTURE, "is_causal": True}, [(5, 2, 8)]),
    ({"batch_first": True}, {}, [(2, 4, 8), (2, 5, 8), (2, 5, 8)]),
    ({"kdim": 6, "vdim": 7}, {}, [(4, 2, 8), (5, 2, 6), (5, 2, 7)]),
    ({"add_bias_kv": True, "batch_first": True}, {"key_padding_mask": PADDING}, [(2, 5, 8)]),
    ({"add_zero_attn": True, "batch_first": True}, {"attn_mask": FUTURE}, [(2, 5, 8)]),
    ({}, {}, [(5, 8)]),
]


@pytest.mark.filterwarnings("ignore:Support for mismatched")
@pytest.mark.parametrize(("made", "called", "shapes"), ATTENTION)
def test_attention_of_several_heads(made, called, shapes, agree):
    ours, theirs = twins("MultiheadAttention", 8, 2, **made)

    def call(layer, lib):
        options = masked(lib, called)
        return lambda *x: layer(*(x if len(x) == 3 else x * 3), **options)

    agree(call(ours, tn), call(theirs, torch), shapes)
    agree.parameters(ours, theirs, "float32")


def test_weights_are_given_when_asked_for():
    ours, _ = twins("MultiheadAttention", 8, 2)
    x = tn.ones(5, 2, 8)
    out, weights = ours(x, x, x, need_weights=False)
    assert weights is None
    np.testing.assert_array_equal(out.detach().numpy(), ours(x, x, x)[0].detach().numpy())


def test_dropped_attention_differs_in_training_only():
    layer = nn.MultiheadAttention(8, 2, dropout=0.5)
    x = tn.randn(5, 2, 8)
    runs = [layer(x, x, x)[0].detach().numpy() for _ in range(2)]
    assert not np.array_equal(*runs)
    layer.eval()
    runs = [layer(x, x, x)[0].detach().numpy() for _ in range(2)]
    assert np.array_equal(*runs)


def test_attention_begins_as_pytorchs():
    torch.manual_seed(0)
    tn.manual_seed(0)
    theirs, ours = torch.nn.MultiheadAttention(64, 4), nn.MultiheadAttention(64, 4)
    for name, p in theirs.named_parameters():
        mine = ours.get_parameter(name).detach().numpy()
        assert mine.std() == pytest.approx(p.detach().numpy().std(), rel=0.05), name


def test_wrong_arguments_are_refused():
    with pytest.raises(ArgumentError, match="divide"):
        nn.MultiheadAttention(8, 3)
    with pytest.raises(ArgumentError, match="'relu', 'gelu'"):
        nn.TransformerEncoderLayer(8, 2, activation="swish")
    layer, x = nn.MultiheadAttention(8, 2), tn.ones(5, 2, 8)
    with pytest.raises(ArgumentError, match="needs attn_mask"):
        layer(x, x, x, is_causal=True)
    with pytest.raises(ShapeError, match="features"):
        layer(x, x, tn.ones(5, 2, 7))
    with pytest.raises(ShapeError, match="all of 3 dims"):
        layer(x, x, tn.ones(5, 8))


LAYERS = [
    {},
    {"norm_first": True, "batch_first": True},
    {"activation": "gelu", "bias": False},
]


@pytest.mark.parametrize("options", LAYERS)
def test_an_encoder_layer(options, agree):
    ours, theirs = twins("TransformerEncoderLayer", 8, 2, 12, dropout=0.0, **options)
    shape = (2, 5, 8) if options.get("batch_first") else (5, 2, 8)
    given = {"src_mask": FUTURE, "src_key_padding_mask": PADDING}
    agree(
        lambda x: ours(x, **masked(tn, given)), lambda x: theirs(x, **masked(torch, given)), [shape]
    )
    agree.parameters(ours, theirs, "float32")


@pytest.mark.parametrize("options", LAYERS)
def test_a_decoder_layer(options, agree):
    ours, theirs = twins("TransformerDecoderLayer", 8, 2, 12, dropout=0.0, **options)
    first = options.get("batch_first")
    shapes = [(2, 5, 8), (2, 4, 8)] if first else [(5, 2, 8), (4, 2, 8)]
    given = {"tgt_mask": FUTURE, "tgt_key_padding_mask": PADDING}
    agree(
        lambda x, m: ours(x, m, **masked(tn, given)),
        lambda x, m: theirs(x, m, **masked(torch, given)),
        shapes,
    )
    agree.parameters(ours, theirs, "float32")


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_stacks_of_layers(agree):
    def build(lib):
        encoder = lib.TransformerEncoderLayer(8, 2, 12, dropout=0.0)
        decoder = lib.TransformerDecoderLayer(8, 2, 12, dropout=0.0)
        return lib.ModuleDict({
            "encoder": lib.TransformerEncoder(encoder, 2, norm=lib.LayerNorm(8)),
            "decoder": lib.TransformerDecoder(decoder, 2),
        })  # fmt: skip

    torch.manual_seed(0)
    theirs, ours = build(torch.nn), build(nn)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    mine, its = tn.tensor(FUTURE), torch.tensor(FUTURE)
    agree(
        lambda x, y: ours["decoder"](y, ours["encoder"](x, mine), tgt_mask=mine),
        lambda x, y: theirs["decoder"](y, theirs["encoder"](x, its), tgt_mask=its),
        [(5, 2, 8), (5, 2, 8)],
    )
    agree.parameters(ours, theirs, "float32")


def test_copies_begin_alike_and_are_apart():
    stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 12), 2)
    first, second = stack.layers
    assert first.linear1.weight is not second.linear1.weight
    assert first.linear1.weight.tolist() == second.linear1.weight.tolist()
