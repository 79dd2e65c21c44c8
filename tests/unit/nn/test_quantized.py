"""int8 layers against NumPy, bit for bit; how models are converted, saved and loaded."""

import copy

import numpy as np
import pytest
import torch

import tenor as tn
from tenor import nn
from tenor.compiler import PASSES
from tenor.config import config
from tenor.engine.trace import reset_trie
from tenor.errors import ArgumentError, DTypeError, GradientError, ShapeError
from tenor.nn.quantized import dynamic
from tenor.tensor.integer import LONGEST
from tests.ops.rows import reference

OPTIONAL = [step.name for step in PASSES if not step.required]
SIZES = [(1, 1, 1), (3, 5, 7), (1, 200, 9), (13, 100, 33), (7, 64, 8), (0, 3, 4), (32, 784, 10)]


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def layer(k, n, bias=True):
    tn.manual_seed(k)
    return dynamic.Linear.from_float(nn.Linear(k, n, bias=bias))


def oracle(x, made):
    """Return what the layer's docstring says, in NumPy, every operation rounded to float32."""
    weight, scale, sums = (getattr(made, name).numpy() for name in ("weight", "scale", "sums"))
    lead, x = x.shape[:-1], x.reshape(-1, x.shape[-1]).astype(np.float32)
    low, high = np.minimum(x.min(1, keepdims=True), 0), np.maximum(x.max(1, keepdims=True), 0)
    step = high / np.float32(255) - low / np.float32(255)
    step = np.where(step == 0, np.float32(1), step)
    zero = np.rint(-low / step)
    q = np.clip(np.rint(x / step) + zero, 0, 255).astype(np.uint8)
    whole = q.astype(np.int64) @ weight.astype(np.int64).T - zero.astype(np.int64) * sums
    out = whole.astype(np.float32) * (step * scale)
    out = out if made.bias is None else out + made.bias.numpy()
    return out.reshape(*lead, len(weight))


# -- the layer ------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_numpys_bit_for_bit(size, bias):
    m, k, n = size
    made, x = layer(k, n, bias), drawn(m, k)
    np.testing.assert_array_equal(made(tn.tensor(x)).numpy(), oracle(x, made))


@pytest.mark.parametrize("shape", [(20,), (2, 3, 20), (2, 0, 20), (1, 1, 1, 20)])
def test_any_dims_stand_before_the_features(shape):
    made, x = layer(20, 6), drawn(*shape)
    np.testing.assert_array_equal(made(tn.tensor(x)).numpy(), oracle(x, made))


def test_the_input_may_lie_anyhow():
    made, x = layer(20, 6), drawn(40, 9)
    for view in (lambda t: t[::2].T, lambda t: t[1::2, 3:8].T, lambda t: t[:20].T[::3]):
        np.testing.assert_array_equal(made(view(tn.tensor(x))).numpy(), oracle(view(x), made))


MODES = ["recorded", "replayed", "compiled", "immediate", "apart", "reference", *OPTIONAL]


@pytest.mark.parametrize("mode", MODES)
def test_every_way_of_running_gives_the_same_bits(mode, monkeypatch):
    made, x = layer(100, 33), drawn(13, 100)
    want, given = oracle(x, made), tn.tensor(x)
    skip = {"apart": OPTIONAL}.get(mode, [mode] if mode in OPTIONAL else [])
    monkeypatch.setattr(config, "skip_passes", frozenset(skip))
    reset_trie()
    if mode == "immediate":
        with tn.immediate():
            got = made(given)
    elif mode == "reference":
        with reference():
            got = tn.tensor(made(given).numpy())
    elif mode == "compiled":
        call = tn.compile(lambda t: made(t))
        got = [call(given) for _ in range(3)][-1]
    else:
        got = [made(given) for _ in range(3 if mode == "replayed" else 1)][-1]
    np.testing.assert_array_equal(got.numpy(), want)
    reset_trie()


def test_a_row_does_not_depend_on_the_others():
    made, x = layer(300, 40), drawn(65, 300)
    x[3] *= 1e4
    whole = made(tn.tensor(x)).numpy()
    for rows in (1, 2, 5, 33):
        np.testing.assert_array_equal(made(tn.tensor(x[:rows])).numpy(), whole[:rows])


@pytest.mark.parametrize("dtype", [tn.bfloat16, tn.float16, tn.float64])
def test_the_result_has_the_inputs_dtype(dtype):
    made, x = layer(20, 6), tn.tensor(drawn(5, 20)).to(dtype)
    got = made(x)
    assert got.dtype is dtype
    wanted = tn.tensor(oracle(x.float().numpy(), made)).to(dtype)
    assert got.tolist() == wanted.tolist()


def test_odd_rows():
    made = layer(4, 3)
    x = np.array([
        [0, 0, 0, 0], [1e-42, 0, -1e-42, 0], [3e38, -3e38, 1, 0], [5, 5, 5, 5], [-2, -2, -2, -2],
        [np.nan, 1, 2, 3], [np.inf, 1, 2, 3], [-np.inf, 1, 2, 3],
    ], np.float32)  # fmt: skip
    got, bias = made(tn.tensor(x)).numpy(), made.bias.numpy()
    np.testing.assert_array_equal(got[0], bias)
    np.testing.assert_allclose(got[1], bias, atol=1e-7)
    assert np.isfinite(got[:5]).all()
    assert not np.isfinite(got[5:]).any()
    np.testing.assert_allclose(got[3], x[3] @ made.weight.numpy().T * made.scale.numpy() + bias,
                               rtol=1e-5, atol=1e-6)  # fmt: skip


def test_the_error_is_that_of_eight_bits():
    tn.manual_seed(0)
    floats, x = nn.Linear(784, 64), drawn(50, 784)
    with tn.no_grad():
        want = floats(tn.tensor(x)).numpy()
    got = dynamic.Linear.from_float(floats)(tn.tensor(x)).numpy()
    assert np.sqrt(((got - want) ** 2).mean()) < 0.012 * np.sqrt((want**2).mean())


def test_the_weights_are_the_nearest_of_their_row():
    floats = nn.Linear(50, 7)
    with tn.no_grad():
        floats.weight[3] = 0.0
        floats.weight[4] = floats.weight[4] * 1e3
    made, w = dynamic.Linear.from_float(floats), floats.weight.detach().numpy()
    back = made.weight.numpy() * made.scale.numpy()[:, None]
    assert (np.abs(back - w) <= made.scale.numpy()[:, None] * 0.5001).all()
    np.testing.assert_array_equal(
        np.abs(made.weight.numpy()).max(1), [127, 127, 127, 0, *[127] * 3]
    )
    np.testing.assert_array_equal(made.sums.numpy(), made.weight.numpy().sum(1, dtype=np.int32))
    np.testing.assert_array_equal(made.bias.numpy(), floats.bias.detach().numpy())


def test_it_is_no_worse_than_pytorchs():
    tn.manual_seed(0)
    floats, x = nn.Linear(300, 64), drawn(20, 300)
    theirs = torch.nn.Linear(300, 64)
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in floats.state_dict().items()})
    spec = {torch.nn.Linear}
    with pytest.warns():  # PyTorch says that it is to move
        quantized = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(theirs), spec)
    with torch.no_grad():
        want, its = theirs(torch.tensor(x)).numpy(), quantized(torch.tensor(x)).numpy()
    got = dynamic.Linear.from_float(floats)(tn.tensor(x)).numpy()
    assert np.abs(got - want).max() <= np.abs(its - want).max()


# -- gradients, arguments -------------------------------------------------------------------------
def test_there_is_no_gradient_and_backward_says_so():
    front, made = nn.Linear(4, 4), layer(4, 3)
    loss = made(front(tn.ones(2, 4))).sum()
    assert loss.requires_grad
    with pytest.raises(GradientError, match="no gradient; its weights are integers"):
        loss.backward()
    with tn.no_grad():
        assert not made(front(tn.ones(2, 4))).requires_grad
    assert not made(tn.ones(2, 4)).requires_grad
    assert list(made.parameters()) == []


def test_the_bits_are_the_same_where_a_gradient_could_be_asked_for():
    made, x = layer(30, 8), drawn(5, 30)
    got = made(tn.tensor(x, requires_grad=True))
    np.testing.assert_array_equal(got.detach().numpy(), oracle(x, made))


def test_wrong_arguments():
    with pytest.raises(ShapeError, match="expects 4 features"):
        layer(4, 3)(tn.ones(2, 5))
    for wrong in (0, LONGEST + 1):
        with pytest.raises(ArgumentError, match="in_features"):
            dynamic.Linear(wrong, 2)
    with pytest.raises(DTypeError, match="must be int8"):
        tn.quantization.quantize_dynamic(nn.Linear(2, 2), dtype=tn.float16)
    with pytest.raises(ArgumentError, match="quantised one"):
        tn.quantization.quantize_dynamic(nn.Linear(2, 2), {nn.Conv2d})
    with pytest.raises(ArgumentError, match="'9'"):
        tn.quantization.quantize_dynamic(nn.Sequential(nn.Linear(2, 2)), {"9"})


def test_the_longest_sum_fits():
    made = dynamic.Linear(LONGEST, 1, bias_=False)
    made.weight = tn.full((1, LONGEST), -128, dtype=tn.int8)
    made.sums = tn.tensor([-128 * LONGEST], dtype=tn.int32)
    got = made(tn.full((1, LONGEST), 255.0))
    assert got.item() == np.float32(-128.0 * 255 * LONGEST)


# -- models ---------------------------------------------------------------------------------------
def network():
    tn.manual_seed(1)
    return nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Sequential(nn.Linear(16, 4)))


def test_a_model_is_converted_and_left_as_it_is():
    model = network()
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    made = tn.quantization.quantize_dynamic(model, {nn.Linear}, dtype=tn.int8)
    assert isinstance(made[0], dynamic.Linear)
    assert isinstance(made[2][0], dynamic.Linear)
    assert isinstance(model[0], nn.Linear)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    x = drawn(6, 20)
    hidden = np.maximum(oracle(x, made[0]), 0)
    np.testing.assert_array_equal(made(tn.tensor(x)).numpy(), oracle(hidden, made[2][0]))
    assert "dtype=int8" in repr(made)


def test_a_part_of_a_model_is_converted():
    made = tn.quantization.quantize_dynamic(network(), {"2", nn.Linear})
    assert isinstance(made[0], nn.Linear)
    assert isinstance(made[2][0], dynamic.Linear)
    made = tn.quantization.quantize_dynamic(network(), {"2.0"})
    assert isinstance(made[2][0], dynamic.Linear)


def test_in_place_shared_and_alone():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared).eval()
    seen = []
    shared.register_forward_hook(lambda *_: seen.append(1))
    made = tn.ao.quantization.quantize_dynamic(model, inplace=True)
    assert made is model
    assert made[0] is made[2]
    assert not made[0].training
    made(tn.ones(1, 4))
    assert seen == [1, 1]
    assert isinstance(tn.quantization.quantize_dynamic(shared), dynamic.Linear)


def test_a_transformer_still_answers():
    tn.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2).eval()
    made, x = tn.quantization.quantize_dynamic(model, {nn.Linear}), tn.tensor(drawn(3, 7, 32))
    kinds = [type(m) for m in made.modules()]
    assert kinds.count(dynamic.Linear) == 6
    with tn.no_grad():
        want, got = model(x).numpy(), made(x).numpy()
    assert np.abs(got - want).max() < 0.08
    assert np.abs(got - want).max() > 0


def attention(**options):
    tn.manual_seed(2)
    made = nn.MultiheadAttention(24, 3, **options)
    with tn.no_grad():
        for p in made.parameters():
            p.copy_(tn.randn(p.shape) * 0.3)
    return made.eval()


@pytest.mark.parametrize("options", [
    {"batch_first": True}, {"bias": False}, {"add_bias_kv": True, "add_zero_attn": True},
    {"kdim": 10, "vdim": 12, "batch_first": True}, {"kdim": 10, "bias": False},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("itself", [True, False])
def test_attention_is_near_the_float_one(options, itself):
    floats = attention(**options)
    made = tn.quantization.quantize_dynamic(floats, {nn.MultiheadAttention})
    assert not any(v.dtype is tn.float32 and v.ndim == 2 for v in made.state_dict().values())
    assert isinstance(made.out_proj, dynamic.Linear)
    if itself and not {"kdim", "vdim"} & set(options):
        q = k = v = tn.tensor(drawn(4, 5, 24))
    else:
        q, k, v = (
            tn.tensor(drawn(4, 5, n, seed=i))
            for i, n in enumerate((24, options.get("kdim", 24), options.get("vdim", 24)))
        )
    with tn.no_grad():
        (want, weights), (got, found) = floats(q, k, v), made(q, k, v)
    scale = want.abs().max().item()
    assert 0 < (got - want).abs().max().item() < 0.06 * scale
    assert 0 < (found - weights).abs().max().item() < 0.06


def test_attention_to_itself_has_the_bits_of_its_parts():
    """One weight for all three projections gives what its rows apart give."""
    made = tn.quantization.quantize_dynamic(attention(batch_first=True), {nn.MultiheadAttention})
    x = tn.tensor(drawn(2, 4, 24))
    with tn.no_grad():
        together, apart = made(x, x, x)[0], made(x, x.clone(), x + 0.0)[0]
    assert together.tolist() == apart.tolist()


def test_converting_draws_no_random_numbers():
    model = nn.Sequential(nn.Linear(4, 4), nn.MultiheadAttention(8, 2))
    before = tn.get_rng_state().tolist()
    tn.quantization.quantize_dynamic(model)
    assert tn.get_rng_state().tolist() == before


def test_an_encoder_is_converted_whole_saved_and_loaded(tmp_path):
    tn.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2).eval()
    made = tn.quantization.quantize_dynamic(model)
    assert not any(v.ndim == 2 and v.dtype is tn.float32 for v in made.state_dict().values())
    tn.save(made, tmp_path / "encoder.tnr", example_inputs=tn.randn(2, 7, 32))
    found = tn.load(tmp_path / "encoder.tnr")
    for rows in (1, 5):
        x = tn.tensor(drawn(rows, 7, 32))
        with tn.no_grad():
            assert found(x).tolist() == made(x).tolist()
    other = tn.quantization.quantize_dynamic(model)
    other.load_state_dict(made.state_dict())


def test_float_weights_are_not_copied():
    model = nn.Sequential(nn.Linear(600, 600), nn.LayerNorm(600), nn.Linear(600, 600))
    model(tn.ones(1, 600)).detach().numpy()
    before = tn.memory_allocated()
    made = tn.quantization.quantize_dynamic(model)
    made[1].weight.detach().numpy()
    assert tn.memory_allocated() - before < 1.2 * 2 * 600 * 600
    assert made[1] is not model[1]


def test_a_mapping_of_ones_own():
    class Halved(dynamic.Linear):
        """Another layer."""

    made = tn.quantization.quantize_dynamic(network(), mapping={nn.Linear: Halved})
    assert type(made[0]) is Halved


# -- state and files ------------------------------------------------------------------------------
def test_the_state_dict_goes_both_ways():
    made = tn.quantization.quantize_dynamic(network())
    state = made.state_dict()
    assert [(k, v.dtype.name) for k, v in state.items() if k.startswith("0.")] == [
        ("0.weight", "int8"), ("0.scale", "float32"), ("0.sums", "int32"), ("0.bias", "float32")
    ]  # fmt: skip
    tn.manual_seed(9)
    other = tn.quantization.quantize_dynamic(nn.Sequential(
        nn.Linear(20, 16), nn.ReLU(), nn.Sequential(nn.Linear(16, 4))))  # fmt: skip
    x = tn.tensor(drawn(5, 20))
    assert other(x).tolist() != made(x).tolist()
    other.load_state_dict(state)
    assert other(x).tolist() == made(x).tolist()
    assert copy.deepcopy(made)(x).tolist() == made(x).tolist()


def test_a_file_of_tensors_holds_the_bytes(tmp_path):
    made = tn.quantization.quantize_dynamic(network())
    tn.save(made.state_dict(), tmp_path / "w.safetensors")
    found = tn.load(tmp_path / "w.safetensors")
    assert {k: v.dtype for k, v in found.items()} == {
        k: v.dtype for k, v in made.state_dict().items()
    }
    assert found["0.weight"].tolist() == made[0].weight.tolist()


def test_a_saved_model_gives_the_same_bits(tmp_path):
    tn.manual_seed(0)
    model = nn.Sequential(nn.Linear(400, 300), nn.ReLU(), nn.LayerNorm(300), nn.Linear(300, 10))
    sizes = {}
    made = tn.quantization.quantize_dynamic(model).eval()
    for name, which in (("f32", model.eval()), ("int8", made)):
        tn.save(which, tmp_path / f"{name}.tnr", example_inputs=tn.randn(2, 400))
        sizes[name] = (tmp_path / f"{name}.tnr").stat().st_size
    assert sizes["int8"] < 0.3 * sizes["f32"]
    found = tn.load(tmp_path / "int8.tnr")
    for rows in (1, 2, 5, 33):
        x = tn.tensor(drawn(rows, 400))
        with tn.no_grad():
            want = made(x).numpy()
        np.testing.assert_array_equal(found(x).numpy(), want)


def test_it_converts_with_the_rest_of_a_module():
    made = tn.quantization.quantize_dynamic(network()).to(tn.bfloat16)
    assert made[0].weight.dtype is tn.int8
    assert made[0].scale.dtype is tn.bfloat16
    assert made(tn.ones(2, 20).to(tn.bfloat16)).dtype is tn.bfloat16


# -- the product of bytes -------------------------------------------------------------------------
@pytest.mark.parametrize("size", [(33, 70, 24), (1, 5, 8), (18, 0, 8)])
def test_int_mm_is_pytorchs(size):
    m, k, n = size
    rng = np.random.default_rng(0)
    a, b = rng.integers(-128, 128, (m, k)), rng.integers(-128, 128, (k, n))
    a, b = a.astype(np.int8), b.astype(np.int8)
    got = tn._int_mm(tn.tensor(a), tn.tensor(b))
    assert got.dtype is tn.int32
    np.testing.assert_array_equal(got.numpy(), torch._int_mm(torch.tensor(a), torch.tensor(b)))
    turned = tn._int_mm(tn.tensor(np.ascontiguousarray(b.T)), tn.tensor(np.ascontiguousarray(a.T)))
    np.testing.assert_array_equal(turned.numpy(), got.numpy().T)


def test_int_mm_refuses_what_it_is_not_for():
    x = tn.ones(2, 3, dtype=tn.int8)
    with pytest.raises(ShapeError, match="_int_mm"):
        tn._int_mm(x, x)
    with pytest.raises(DTypeError, match="int8"):
        tn._int_mm(x, x.T.int())
