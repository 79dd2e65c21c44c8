"""Module: registration, walks, modes, conversion, state, hooks, errors, printing."""

import copy
import pickle
import threading
from collections import OrderedDict

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.engine import flush
from tenor.errors import ArgumentError, DTypeError, FormatError, ShapeError

nn = tn.nn


class Net(nn.Module):
    """A model with parameters, a buffer, children in containers and a shared child."""

    def __init__(self):
        fill(self, tn)

    def forward(self, x):
        h = self.encoder(x) * self.gain
        return {name: head(h) for name, head in self.heads.items()}


class TorchNet(torch.nn.Module):
    """The same model on PyTorch."""

    forward = Net.forward

    def __init__(self):
        super().__init__()
        fill(self, torch)


def fill(model, lib):
    """Give a model its parts, in one order for both libraries."""
    model.encoder = lib.nn.Sequential(lib.nn.Linear(4, 3), lib.nn.ReLU())
    model.heads = lib.nn.ModuleDict({"a": lib.nn.Linear(3, 2), "b": lib.nn.Linear(3, 1)})
    model.gain = lib.nn.Parameter(lib.ones(3))
    model.register_buffer("count", lib.zeros(1))
    model.register_buffer("scratch", lib.zeros(1), persistent=False)
    model.alias = model.encoder[0]
    model.spare = model.alias


# -- registration and walks -------------------------------------------------------------------
WALKS = {
    "parameters": lambda m: [n for n, _ in m.named_parameters()],
    "own parameters": lambda m: [n for n, _ in m.named_parameters(recurse=False)],
    "prefixed": lambda m: [n for n, _ in m.named_parameters(prefix="net")],
    "with repetition": lambda m: [n for n, _ in m.named_parameters(remove_duplicate=False)],
    "buffers": lambda m: [n for n, _ in m.named_buffers()],
    "modules": lambda m: [n for n, _ in m.named_modules()],
    "all paths": lambda m: [n for n, _ in m.named_modules(remove_duplicate=False)],
    "children": lambda m: [n for n, _ in m.named_children()],
    "state": lambda m: list(m.state_dict()),
    "prefixed state": lambda m: list(m.state_dict(prefix="net.")),
    "types": lambda m: [type(c).__name__ for c in m.modules()][1:],
}


@pytest.mark.parametrize("walk", WALKS)
def test_a_walk_meets_what_pytorchs_meets_in_its_order(walk):
    assert WALKS[walk](Net()) == WALKS[walk](TorchNet())


def test_super_init_may_be_left_out():
    class Plain(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(2, 1)

    assert [n for n, _ in Plain().named_parameters()] == ["fc.weight", "fc.bias"]


def test_assignment_moves_a_name_between_registries():
    m = Net()
    m.alias = nn.Parameter(tn.ones(1))
    assert "alias" not in dict(m.named_children())
    assert "alias" in dict(m.named_parameters())
    m.alias = nn.ReLU()
    assert "alias" in dict(m.named_children())
    m.gain = None
    assert m.gain is None
    assert "gain" not in dict(m.named_parameters())
    m.count = tn.ones(1)
    assert dict(m.named_buffers())["count"].tolist() == [1.0]
    del m.count
    with pytest.raises(AttributeError, match="count"):
        _ = m.count


def test_a_plain_tensor_may_not_take_a_parameters_place():
    m = nn.Linear(2, 1)
    with pytest.raises(ArgumentError, match="'weight' is a parameter") as error:
        m.weight = tn.zeros(1, 2)
    assert "nn.Parameter" in str(error.value)
    assert m.weight.requires_grad


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("weight", [1.0], "a parameter"), ("running_mean", [1.0], "a buffer"),
        ("inner", 3, "a module"), ("inner", tn.ones(1), "a module"), ("inner", nn.ReLU, "a module"),
    ],
)  # fmt: skip
def test_what_is_registered_gives_way_to_its_like_alone(name, value, kind):
    layer = nn.BatchNorm1d(1)
    layer.inner = nn.ReLU()
    with pytest.raises(ArgumentError, match=f"'{name}' is {kind}"):
        setattr(layer, name, value)
    assert getattr(layer, name) is not value
    setattr(layer, name, None)
    assert getattr(layer, name) is None


def test_registers_take_their_own_kind():
    with pytest.raises(ArgumentError, match=r"must be a Parameter or None") as error:
        nn.Module().register_parameter("w", tn.ones(2))
    assert "plain tensor of shape (2,) as 'w'" in str(error.value)
    with pytest.raises(ArgumentError, match="must be a tensor or None"):
        nn.Module().register_buffer("b", [1.0])


@pytest.mark.parametrize("name", ["", "a.b", "forward", "training"])
def test_a_name_that_is_taken_or_dotted_is_refused(name):
    m = nn.Module()
    with pytest.raises(ArgumentError, match="free and hold no dot"):
        m.register_buffer(name, tn.zeros(1))
    with pytest.raises(ArgumentError, match="free and hold no dot"):
        m.add_module(name, nn.ReLU())


def test_a_child_must_be_a_module():
    with pytest.raises(ArgumentError, match="must be a module"):
        nn.Sequential(nn.ReLU)


def test_paths_lead_to_modules_parameters_and_buffers():
    m = Net()
    assert m.get_submodule("heads.a") is m.heads["a"]
    assert m.get_submodule("") is m
    assert m.get_parameter("encoder.0.bias") is m.encoder[0].bias
    assert m.get_buffer("count") is m.count
    for get, path in ((m.get_submodule, "heads.c"), (m.get_parameter, "encoder.0.gain"),
                      (m.get_buffer, "gain")):  # fmt: skip
        with pytest.raises(AttributeError, match=path.rpartition(".")[2]):
            get(path)


def test_a_module_takes_the_place_of_another():
    model = nn.Sequential(nn.Sequential(nn.Linear(1, 1)))
    model.set_submodule("0.0", nn.Tanh())
    assert isinstance(model[0][0], nn.Tanh)
    with pytest.raises(AttributeError, match="no child '1'"):
        model.set_submodule("0.1", nn.Tanh())


def test_a_module_without_forward_says_so():
    with pytest.raises(ArgumentError, match="defines no forward"):
        nn.Module()(tn.ones(1))


def test_apply_goes_children_first_and_returns_the_module():
    m, seen = Net(), []
    assert m.apply(seen.append) is m
    assert seen[-1] is m
    assert seen[0] is m.encoder[0]


# -- modes, gradients, dtypes -----------------------------------------------------------------
def test_modes_reach_everything_below():
    m = Net()
    assert m.training
    assert m.eval() is m
    assert not any(c.training for c in m.modules())
    m.train()
    assert all(c.training for c in m.modules())


def test_a_mode_is_a_bool():
    with pytest.raises(ArgumentError, match="True or False"):
        nn.ReLU().train("yes")


def test_a_module_is_not_converted_to_integers():
    layer = nn.Linear(1, 1)
    with pytest.raises(DTypeError, match="floating dtypes alone"):
        layer.to(tn.int64)
    assert layer.weight.dtype is tn.float32


def test_zero_grad_clears_or_zeroes():
    m = nn.Linear(2, 1)
    m(tn.ones(1, 2)).sum().backward()
    m.zero_grad(set_to_none=False)
    assert m.weight.grad.tolist() == [[0.0, 0.0]]
    m.zero_grad()
    assert m.weight.grad is None


def test_frozen_parameters_get_no_gradient():
    m = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    m[0].requires_grad_(False)
    m(tn.ones(1, 2)).sum().backward()
    assert m[0].weight.grad is None
    assert m[1].weight.grad is not None


@pytest.mark.parametrize("convert", [lambda m: m.double(), lambda m: m.to(tn.float64),
                                     lambda m: m.to("cpu", "float64"),
                                     lambda m: m.to(tn.ones(1, dtype="float64"))])  # fmt: skip
def test_conversion_keeps_the_parameters_and_their_values(convert):
    m = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    weight, before = m[0].weight, m[0].weight.tolist()
    m(tn.randn(4, 2)).sum().backward()
    assert convert(m) is m
    assert m[0].weight is weight
    assert weight.dtype == tn.float64
    assert weight.requires_grad
    assert weight.is_leaf
    assert weight.grad.dtype == tn.float64
    assert weight.tolist() == before
    assert m[1].running_mean.dtype == tn.float64
    assert m[1].num_batches_tracked.dtype == tn.int64


@pytest.mark.parametrize(("name", "dtype"), [("float", tn.float32), ("half", tn.float16),
                                             ("bfloat16", tn.bfloat16)])  # fmt: skip
def test_named_conversions(name, dtype):
    m = getattr(nn.Linear(2, 1), name)()
    assert m.weight.dtype == dtype
    assert m(tn.ones(1, 2, dtype=dtype)).dtype == dtype


def test_layers_take_a_dtype():
    assert nn.Linear(2, 1, dtype=tn.float64).bias.dtype == tn.float64


# -- parameters -------------------------------------------------------------------------------
def test_a_parameter_is_a_leaf_of_its_own():
    data = tn.ones(2)
    p = nn.Parameter(data)
    assert isinstance(p, tn.Tensor)
    assert p.is_leaf
    assert p.requires_grad
    with tn.no_grad():
        p.add_(1.0)
    assert data.tolist() == [1.0, 1.0]
    assert not nn.Parameter(data, requires_grad=False).requires_grad
    assert repr(p) == "Parameter containing:\ntensor([2., 2.], requires_grad=True)"


def test_results_of_parameters_are_plain_tensors():
    assert type(nn.Parameter(tn.ones(2)) * 2) is tn.Tensor


def test_initial_values_are_in_no_steps_plan():
    m = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1))
    m.apply(lambda c: nn.init.zeros_(c.bias) if hasattr(c, "bias") else None)
    x = tn.ones(3, 6).materialize()
    m(x).sum().item()
    before = flush.counts["plans"]
    m(x).sum().item()
    assert flush.counts["plans"] == before, "the second step is the first one's plan"


def test_a_model_made_in_one_thread_trains_in_another():
    m, losses = nn.Linear(3, 1), []

    def train():
        loss = m(tn.ones(2, 3)).sum()
        loss.backward()
        losses.append((loss.item(), m.weight.grad.tolist()))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert losses[0][1] == [[2.0, 2.0, 2.0]]


# -- state ------------------------------------------------------------------------------------
def test_state_comes_from_pytorch_by_name():
    ours, theirs = Net(), TorchNet()
    result = ours.load_state_dict(theirs.state_dict())
    assert repr(result) == "<All keys matched successfully>"
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    for name, wanted in theirs(torch.tensor(x)).items():
        np.testing.assert_allclose(
            ours(tn.tensor(x))[name].detach().numpy(), wanted.detach().numpy(), rtol=1e-5
        )


def test_state_goes_to_pytorch_by_name():
    ours, theirs = Net(), TorchNet()
    state = {k: torch.from_numpy(np.array(v.numpy())) for k, v in ours.state_dict().items()}
    theirs.load_state_dict(state)
    assert theirs.gain.tolist() == ours.gain.tolist()


def test_state_shows_later_writes():
    m = nn.Linear(2, 1)
    state, values = m.state_dict(), m.state_dict(keep_vars=True)
    with tn.no_grad():
        m.weight.fill_(7.0)
    assert state["weight"].tolist() == [[7.0, 7.0]]
    assert not state["weight"].requires_grad
    assert values["weight"] is m.weight


def test_state_of_arrays_loads():
    m = nn.Linear(2, 1)
    m.load_state_dict({"weight": np.array([[1.0, 2.0]]), "bias": np.array([3.0])})
    assert m.weight.tolist() == [[1.0, 2.0]]
    assert m.weight.dtype == tn.float32
    assert m.weight.requires_grad


def test_state_that_does_not_fit_changes_nothing():
    m = nn.Linear(2, 1)
    before = m.bias.tolist()
    with pytest.raises(ShapeError) as error:
        m.load_state_dict({"bias": tn.ones(3), "weight": tn.ones(2, 2)})
    assert "weight: (2, 2) for (1, 2)" in str(error.value)
    assert "bias: (3,) for (1,)" in str(error.value)
    with pytest.raises(ShapeError):
        m.load_state_dict({"bias": tn.tensor([9.0]), "weight": tn.ones(2, 2)})
    with pytest.raises(ArgumentError, match="names must match"):
        m.load_state_dict({"bias": tn.tensor([9.0])})
    assert m.bias.tolist() == before


def test_a_state_is_a_dict_of_tensors():
    with pytest.raises(ArgumentError, match="dict of names"):
        nn.Linear(2, 1).load_state_dict([1.0])
    with pytest.raises(DTypeError) as error:
        nn.Linear(2, 1).load_state_dict({"weight": None, "bias": tn.ones(1)})
    assert "as 'weight'" in str(error.value)


def test_a_wrapped_models_names_get_a_hint():
    m = nn.Linear(2, 1)
    wrapped = {f"module.{k}": v for k, v in m.state_dict().items()}
    with pytest.raises(ArgumentError, match=r"strip the prefix 'module\.'"):
        m.load_state_dict(wrapped)


def test_a_name_with_a_slip_gets_a_hint():
    state = {"weigth": tn.ones(1, 2), "bias": tn.ones(1)}
    with pytest.raises(ArgumentError, match="rename 'weigth' to 'weight'"):
        nn.Linear(2, 1).load_state_dict(state)


def test_a_loose_load_says_what_did_not_match():
    m = nn.Linear(2, 1)
    result = m.load_state_dict({"weight": tn.ones(1, 2), "extra": tn.ones(1)}, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == (["bias"], ["extra"])
    assert m.weight.tolist() == [[1.0, 1.0]]
    missing, unexpected = result
    assert (missing, unexpected) == (["bias"], ["extra"])


def test_loading_keeps_views_and_optimizers_on_the_parameter():
    m = nn.Linear(2, 1)
    weight = m.weight
    m.load_state_dict({"weight": tn.ones(1, 2), "bias": tn.zeros(1)})
    assert m.weight is weight


def test_a_deep_copy_shares_nothing():
    m = Net()
    m(tn.ones(1, 4))["a"].sum().backward()
    twin = copy.deepcopy(m)
    assert twin.alias is twin.encoder[0], "sharing inside is kept"
    assert isinstance(twin.gain, nn.Parameter)
    assert m.gain.grad is not None
    assert twin.gain.grad is None, "as PyTorch has it"
    with tn.no_grad():
        twin.gain.fill_(9.0)
        twin.count.fill_(9.0)
    assert m.gain.tolist() == [1.0] * 3
    assert m.count.tolist() == [0.0]
    assert list(twin.state_dict()) == list(m.state_dict())


def test_a_module_is_never_pickled():
    with pytest.raises(FormatError, match="never as pickles"):
        pickle.dumps(nn.Linear(2, 1))


# -- hooks ------------------------------------------------------------------------------------
def test_forward_hooks_see_and_replace():
    m, seen = nn.Linear(2, 1), []
    pre = m.register_forward_pre_hook(lambda mod, args: (args[0] * 0,))
    post = m.register_forward_hook(lambda mod, args, out: seen.append(args[0].tolist()) or out + 1)
    assert m(tn.ones(1, 2)).item() == pytest.approx(m.bias.item() + 1)
    assert seen == [[[0.0, 0.0]]]
    pre.remove()
    post.remove()
    post.remove()
    x = tn.ones(1, 2)
    assert m(x).item() == pytest.approx((x @ m.weight.t() + m.bias).item())


def test_hooks_run_in_their_order_and_with_keywords():
    class Scale(nn.Module):
        def forward(self, x, by=1.0):
            return x * by

    m, order = Scale(), []
    m.register_forward_hook(lambda *a: order.append("second"))
    m.register_forward_hook(lambda *a: order.append("first"), prepend=True)
    m.register_forward_hook(lambda mod, args, kwargs, out: order.append(kwargs), with_kwargs=True)
    m.register_forward_pre_hook(
        lambda mod, args, kwargs: (args, {"by": kwargs["by"] * 2}), with_kwargs=True
    )
    assert m(tn.ones(1), by=3.0).item() == 6.0
    assert order == ["first", "second", {"by": 6.0}]


def backward_of(lib, module, x, replace):
    """Return what the full backward hook of a module sees, and the input's gradient."""
    seen = []

    def hook(_module, grad_input, grad_output):
        seen.append([None if g is None else g.tolist() for g in (*grad_input, *grad_output)])
        return tuple(g * 2 for g in grad_input) if replace else None

    handle = module.register_full_backward_hook(hook)
    x = lib.tensor(x, requires_grad=True)
    (module(x * 1) * 3).sum().backward()
    handle.remove()
    return seen, x.grad.tolist()


def watched(lib, fails):
    """Return what hooks saw of a call that fails somewhere, or nowhere."""
    seen = []

    def failing(where):
        if where == fails:
            raise ValueError(where)

    class Layer(lib.nn.Module):
        def forward(self, x, scale=1.0):
            failing("forward")
            return x * scale

    layer = Layer()
    layer.register_forward_pre_hook(lambda m, args: failing("pre-hook"))
    layer.register_forward_hook(lambda m, args, out: seen.append(1), always_call=True)
    layer.register_forward_hook(lambda m, args, out: failing("hook"))
    layer.register_forward_hook(lambda m, args, out: seen.append("not always"))
    layer.register_forward_hook(
        lambda m, args, kwargs, out: seen.append((len(args), kwargs, out is None)),
        with_kwargs=True, always_call=True,
    )  # fmt: skip
    layer.register_forward_hook(lambda m, args, out: 1 / 0 if fails else None, always_call=True)
    try:
        layer(lib.ones(1), scale=2.0)
    except ValueError as error:
        seen.append(str(error))
    return seen


@pytest.mark.parametrize("fails", ["", "pre-hook", "forward", "hook"])
@pytest.mark.filterwarnings("ignore:.*hook")
def test_a_hook_that_is_always_called_sees_failures_as_pytorchs_does(fails):
    ours = watched(tn, fails)
    assert ours == watched(torch, fails)
    assert len(ours) == 3


def test_a_hook_that_fails_after_a_failure_warns():
    layer = nn.Linear(2, 1)
    layer.register_forward_hook(lambda m, args, out: 1 / 0, always_call=True)
    with pytest.warns(UserWarning, match="division"), pytest.raises(ShapeError):
        layer(tn.ones(3))


@pytest.mark.parametrize("replace", [False, True])
def test_full_backward_hooks_see_and_replace_what_pytorchs_do(replace):
    theirs = torch.nn.Linear(2, 1)
    ours = nn.Linear(2, 1)
    ours.load_state_dict(theirs.state_dict())
    x = [[1.0, 2.0]]
    assert backward_of(tn, ours, x, replace) == backward_of(torch, theirs, x, replace)


def test_backward_hooks_of_inputs_without_gradients_and_pre_hooks():
    m, seen = nn.Linear(2, 1), []
    m.register_full_backward_pre_hook(lambda mod, grads: (grads[0] * 10,))
    m.register_full_backward_hook(lambda mod, i, o: seen.append((i, o[0].tolist())))
    m(tn.ones(1, 2)).sum().backward()
    assert seen == [((None,), [[10.0]])]
    assert m.bias.grad.tolist() == [10.0]


# -- errors and printing ----------------------------------------------------------------------
def test_an_error_names_the_path_the_parameter_and_the_line():
    class Classifier(nn.Module):
        def __init__(self):
            self.encoder = nn.ModuleDict({"fc": nn.Linear(784, 128)})

        def forward(self, x):
            return self.encoder["fc"](x)

    with pytest.raises(ShapeError) as error:
        Classifier()(tn.zeros(32, 28, 28))
    text = str(error.value)
    assert "Classifier.encoder.fc (Linear(in_features=784, out_features=128, bias=True))" in text
    assert "weight: (128, 784)  (parameter 'weight')" in text
    assert "input: (32, 28, 28)" in text
    assert "return self.encoder" in text
    assert "flatten" in text


@pytest.mark.parametrize(
    ("make", "shape", "said"),
    [
        (lambda: nn.Conv2d(3, 4, 3), (1, 4, 8, 8), "(parameter 'weight')"),
        (lambda: nn.BatchNorm2d(3), (2, 4, 8, 8), "(parameter 'weight')"),
        (lambda: nn.BatchNorm2d(3), (2, 3), "4 dims"),
        (lambda: nn.LayerNorm(5), (2, 4), "(5,)"),
        (lambda: nn.LSTM(3, 4), (2, 5, 7), "(T, N, 3)"),
        (lambda: nn.GroupNorm(2, 4), (2, 5, 3), "2 groups"),
    ],
)
def test_errors_of_layers_name_them(make, shape, said):
    model = nn.Sequential(nn.Identity(), make())
    with pytest.raises(ShapeError) as error:
        model(tn.zeros(*shape))
    assert f"Sequential.1 ({model[1]!r})" in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("layer", "x", "said"),
    [
        (nn.Linear(2, 1), np.ones((3, 2)), "input=a NumPy array (3, 2) float64"),
        (nn.Linear(2, 1), [[1.0, 2.0]], "input=[[1.0, 2.0]] (list)"),
        (nn.Conv1d(2, 1, 1), np.ones((3, 2, 4)), "input=a NumPy array (3, 2, 4) float64"),
        (nn.Embedding(4, 1), np.array([1]), "input=a NumPy array (1,) int64"),
        (nn.LSTM(2, 1), np.ones((3, 1, 2)), "ndarray"),
        (nn.LSTM(2, 1), tn.ones(3, 1, 2).double(), "weight: float32  (parameter 'weight_ih_l0')"),
        (nn.GRUCell(2, 1), np.ones((3, 2)), "ndarray"),
        (nn.Linear(2, 1), tn.ones(3, 2, dtype=tn.float64), "weight: float32  (parameter 'weight')"),
        (nn.Linear(2, 1), tn.ones(3, 2).long(), "input: int64"),
    ],
)
def test_inputs_of_another_kind_are_named(layer, x, said):
    model = nn.Sequential(layer)
    with pytest.raises(DTypeError) as error:
        model(x)
    assert "in module: Sequential.0" in str(error.value)
    assert said in str(error.value)
    assert "model(x)" in str(error.value), "the user's line"


@pytest.mark.parametrize(
    "make",
    [
        lambda lib, x: lib.Sequential(lib.Linear(2, 3), lib.ReLU(inplace=True), lib.Dropout(0.1)),
        lambda lib, x: lib.Sequential(),
        lambda lib, x: lib.ModuleList([lib.Linear(2, 2) for _ in range(3)] + [lib.ReLU()]),
        lambda lib, x: lib.ModuleList([lib.Sequential(lib.ReLU(), lib.Tanh()) for _ in range(2)]),
        lambda lib, x: lib.ModuleDict({"a": lib.Linear(2, 2, bias=False)}),
        lambda lib, x: lib.Sequential(OrderedDict([("up", lib.Tanh()), ("down", lib.Tanh())])),
        lambda lib, x: lib.Sequential(lib.CrossEntropyLoss(), lib.MSELoss(), lib.Hardswish()),
    ],
)
def test_printing_is_pytorchs(make):
    assert repr(make(nn, tn)) == repr(make(torch.nn, torch))


def test_dir_lists_what_is_registered():
    assert {"encoder", "gain", "count", "forward"} <= set(dir(Net()))


def test_a_module_has_no_dictionaries_of_hooks_before_it_has_a_hook():
    model, seen = nn.Linear(2, 2), []
    assert not [name for name in vars(model) if name.endswith("_hooks")]
    handle = model.register_forward_hook(lambda *a: seen.append(1))
    model(tn.ones(1, 2))
    handle.remove()
    model(tn.ones(1, 2))
    assert seen == [1]
    assert not hasattr(model, "_other_hooks")
