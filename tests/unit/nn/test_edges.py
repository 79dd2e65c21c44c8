"""A module tree's call is one edge while nothing about the tree has changed, and never after."""

import copy
import gc
import weakref

import numpy as np
import pytest

import tenor as tn
from tenor.engine import learning, recorder
from tenor.engine.trace import local
from tenor.nn import edges, functional
from tenor.nn.module import Module

nn = tn.nn
X = np.random.default_rng(0).standard_normal((5, 6), np.float32)
MADE = recorder.native()
pytestmark = pytest.mark.skipif(
    MADE is None or MADE.module is None, reason="this interpreter counts no versions"
)


@pytest.fixture(autouse=True)
def native():
    """Use the builtins from the first call on."""
    with recorder.using(MADE):
        yield


class Scale(nn.Module):
    """A user's module: it is always run."""

    def __init__(self):
        self.ran = 0
        self.inner = nn.Sequential(nn.Linear(6, 6), nn.Tanh())

    def forward(self, x):
        self.ran += 1
        return self.inner(x) * 2


def made():
    return nn.Sequential(
        nn.Linear(6, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Dropout(0.5), nn.Linear(7, 4),
        nn.LeakyReLU(0.25), nn.LayerNorm(4),
    ).eval()  # fmt: skip


def warm(model, x, times=4):
    for _ in range(times):
        with tn.no_grad():
            model(x).numpy()


@pytest.fixture
def ran(monkeypatch):
    """Return the classes of the modules that are called in Python."""
    seen = []
    real = Module._called

    def note(self, args, kwargs):
        seen.append(type(self).__name__)
        return real(self, args, kwargs)

    monkeypatch.setattr(Module, "_called", note)
    return seen


def test_a_tree_of_the_librarys_modules_is_one_edge(ran):
    model, x = made(), tn.tensor(X)
    warm(model, x)
    ran.clear()
    with tn.no_grad():
        y = model(x)
    assert ran == []
    assert len(local.trace.outs) == 1
    with recorder.in_python(), tn.no_grad():
        np.testing.assert_array_equal(y.numpy(), model(x).numpy())


def test_it_is_one_edge_in_the_middle_of_a_trace_and_where_it_is_called_twice(ran):
    model, x = nn.Sequential(nn.Linear(6, 6), nn.ReLU()), tn.tensor(X)

    def step():
        return (model(model(x * 2) + 1)).sum().item()

    first = [step() for _ in range(4)]
    ran.clear()
    assert step() == first[0]
    assert ran == []


def test_a_users_forward_is_always_run(ran):
    model, x = Scale(), tn.tensor(X)
    warm(model, x)
    before = model.ran
    ran.clear()
    warm(model, x, 3)
    assert model.ran == before + 3
    assert set(ran) == {"Scale"}, "its parts from the library are edges"


def hook(model):
    model[2].register_forward_hook(lambda m, args, y: y + 1)


def hook_before(model):
    model.register_forward_pre_hook(lambda m, args: (args[0] * 2,))


def new_class(model):
    model[2].__class__ = nn.Tanh


def own_forward(model):
    model[0].forward = lambda x: functional.linear(x, model[0].weight) * 3


def new_dict(model):
    model[5].__dict__ = {**model[5].__dict__, "negative_slope": 0.75}


def doubled_inside(model):
    with tn.no_grad():
        model[4].weight.mul_(2)


def loaded(model):
    model.load_state_dict({k: v * 0.5 for k, v in model.state_dict().items()})


def data(model):
    model[4].weight.data = tn.ones(4, 7)


CHANGES = {
    "a hook": hook,
    "a hook before": hook_before,
    "training": lambda m: m[1].train(),
    "an attribute": lambda m: setattr(m[5], "negative_slope", 0.5),
    "an attribute of a part": lambda m: setattr(m[6], "eps", 0.5),
    "an attribute's own dictionary": lambda m: m[5].__dict__.update(negative_slope=0.5),
    "another dictionary": new_dict,
    "a parameter": lambda m: setattr(m[0], "weight", nn.Parameter(tn.ones(7, 6))),
    "no bias": lambda m: setattr(m[4], "bias", None),
    "a registry": lambda m: m[0]._parameters.update(weight=nn.Parameter(tn.ones(7, 6))),
    "a buffer": lambda m: setattr(m[1], "running_mean", tn.ones(7)),
    "a module": lambda m: m.__setitem__(2, nn.Sigmoid()),
    "one module less": lambda m: m.__delitem__(2),
    "one module more": lambda m: m.append(nn.Tanh()),
    "a class": new_class,
    "forward of an object": own_forward,
    "a weight written in place": doubled_inside,
    "a state loaded": loaded,
    "data": data,
    "frozen": lambda m: m.requires_grad_(False),
    "moved to float64": lambda m: m.double(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen(name):
    tn.manual_seed(0)
    model, x = made(), tn.tensor(X)
    warm(model, x)
    CHANGES[name](model)
    x = x.double() if name == "moved to float64" else x
    tn.manual_seed(1)
    twin = copy.deepcopy(model) if name != "forward of an object" else model
    with tn.no_grad():
        found = [model(x).numpy() for _ in range(3)]
    with recorder.in_python(), tn.no_grad():
        wanted = [twin(x).numpy() for _ in range(3)]
    np.testing.assert_array_equal(found, wanted)


def test_what_the_librarys_classes_and_functions_are_is_seen(monkeypatch):
    model, x = made(), tn.tensor(X)
    warm(model, x)
    with tn.no_grad():
        before = model(x).numpy().copy()
        with monkeypatch.context() as patch:
            patch.setattr(nn.Linear, "forward", lambda self, x: x[..., :1] * tn.ones(7))
            patch.setattr(nn.LayerNorm, "forward", lambda self, x: x * 0)
            assert not model(x).numpy().any()
        with monkeypatch.context() as patch:
            patch.setattr(functional, "layer_norm", lambda x, *a: x * 0)
            assert not model(x).numpy().any()
        np.testing.assert_array_equal(model(x).numpy(), before)


def test_a_hook_that_is_removed_makes_room_for_the_edge_of_a_new_module():
    model, x, seen = made(), tn.tensor(X), []
    warm(model, x)
    handle = model[0].register_forward_hook(lambda *a: seen.append(1))
    warm(model, x, 2)
    handle.remove()
    warm(model, x, 2)
    assert len(seen) == 2


def test_modes_are_seen():
    model, x = nn.Sequential(nn.Linear(6, 6), nn.ReLU()), tn.tensor(X)
    for _ in range(4):
        assert model(x).requires_grad
        with tn.no_grad():
            assert not model(x).requires_grad
        with tn.autocast("cpu"):
            assert model(x).dtype is tn.bfloat16
        with tn.immediate():
            assert model(x).buffer is not None
        assert model(x).dtype is tn.float32


def test_gradients_arrive_and_hooks_of_tensors_are_called():
    model, x, seen = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2)), tn.tensor(X), []

    def grads():
        model.zero_grad()
        model(x).square().sum().backward()
        return [p.grad.numpy().copy() for p in model.parameters()]

    found = [grads() for _ in range(4)][-1]
    with recorder.in_python():
        for a, b in zip(found, grads(), strict=True):
            np.testing.assert_array_equal(a, b)
    model[0].weight.register_hook(lambda g: seen.append(1))
    grads()
    assert seen == [1]


def test_randomness_and_running_statistics_are_no_edges():
    model, x = nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.5)), tn.tensor(X)
    drawn = {model(x).detach().numpy().tobytes() for _ in range(20)}
    assert len(drawn) == 20
    assert model[0].num_batches_tracked.item() == 20


def test_a_bad_input_is_reported_by_the_module_each_time():
    model, x = made(), tn.tensor(X)
    warm(model, x)
    for _ in range(2):
        with pytest.raises(tn.errors.ShapeError, match=r"Sequential\.0"):
            model(tn.ones(3, 5))


def test_inputs_of_every_kind():
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
    base, borrowed = tn.tensor(np.tile(X, (2, 1))), np.ones((5, 6), np.float32)
    kinds = [
        tn.tensor(X), tn.tensor(X) * 2, base[:5], base[5:].detach(), tn.from_numpy(borrowed),
        tn.tensor(X, requires_grad=True), model[0].weight,
    ]  # fmt: skip
    for _ in range(4):
        borrowed += 1
        for x in kinds:
            found = model(x).detach().numpy()
            with recorder.in_python():
                np.testing.assert_array_equal(found, model(x).detach().numpy())


def test_a_call_that_checks_indices_is_no_edge_and_after_a_while_nobody_tries(monkeypatch):
    table, index, tried = nn.Embedding(5, 2), tn.tensor([1, 2]), []
    real = edges.learn
    monkeypatch.setattr(edges, "learn", lambda *args: tried.append(1) or real(*args))
    for _ in range(40):
        table(index).detach().numpy()
    assert len(tried) == learning.HOPELESS
    with pytest.raises(tn.errors.IndexRangeError, match="found here"):
        table(index + 4).detach().numpy()  # found here


def test_a_view_is_an_input_like_any_other(ran):
    model, x = nn.Sequential(nn.Linear(6, 6), nn.ReLU()), tn.tensor(np.stack([X, X + 1, X + 2]))
    for k in range(6):
        if k == 5:
            ran.clear()
        for i in range(3):
            found = model(x[i]).detach().numpy()
            with recorder.in_python():
                wanted = model(x[i].clone()).detach().numpy()
            np.testing.assert_array_equal(found, wanted)
        x.add_(1)
    assert len(ran) == 3 * 3, "three modules of the three models in Python"


def test_nothing_is_learned_on_paths_that_are_new_each_time():
    model, before = nn.Sequential(nn.Linear(6, 6), nn.ReLU()), []
    for n in range(2, 9):
        model(tn.ones(n, 6)).detach().numpy()
        before.append(vars(model).get("_edge"))
    assert before == [None] * 7


def test_a_model_that_is_dropped_is_freed_at_once():
    model, x = made(), tn.tensor(X)
    warm(model, x)
    parts = [weakref.ref(m) for m in model.modules()]
    gc.disable()
    try:
        del model
        assert not any(part() for part in parts)
    finally:
        gc.enable()


def test_a_copy_knows_nothing_of_it():
    model, x = made(), tn.tensor(X)
    warm(model, x)
    twin = copy.deepcopy(model)
    with tn.no_grad():
        twin[4].weight.zero_()
        twin[6] = nn.Identity()
        found = twin(x).numpy()
        assert model(x).numpy().any()
    np.testing.assert_array_equal(found, np.broadcast_to(_last(twin), found.shape))


def _last(model):
    bias = model[4].bias.detach().numpy()
    return np.where(bias > 0, bias, np.float32(0.25) * bias)


def test_alike_trees_share_what_is_known_and_nothing_else(ran):
    x = tn.tensor(X)
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    warm(first, x)
    warm(second, x, 2)
    ran.clear()
    with tn.no_grad():
        a, b = first(x).numpy(), second(x).numpy()
    assert (a != b).any()
    with recorder.in_python(), tn.no_grad():
        np.testing.assert_array_equal(b, second(x).numpy())
