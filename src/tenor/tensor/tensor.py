"""Tensor: the names users call, each bound to the function that records it.

A method and the function of the same name are one object: `x.exp()` is `tn.exp(x)`. The functions
live in modules by what they do; this class is their table.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NoReturn

import tenor.engine.together  # noqa: F401 - tells the recorder how traces are run
from tenor.engine.alias import version_of
from tenor.engine.handle import Handle
from tenor.engine.trace import install
from tenor.errors import ArgumentError
from tenor.ir import dtype as dt
from tenor.ir.node import size as elements
from tenor.tensor import (
    conversion,
    counting,
    creation,
    diagonals,
    dlpack,
    elementwise,
    gradient,
    indexing,
    inplace,
    joining,
    layout,
    linear,
    movement,
    ordering,
    printing,
    protocol,
    random,
    reduction,
    running,
    scattering,
    special,
    statistics,
    transcendental,
)
from tenor.tensor.dims import Size, aliased, axis
from tenor.tensor.inplace import in_place
from tenor.tensor.surface import publish

if TYPE_CHECKING:
    import builtins

    from tenor.ir.dtype import DType

__all__ = ["Tensor"]


class Tensor(Handle):
    """An array of numbers of one dtype, computed when it is looked at.

    Operations are recorded, not run; printing, `item()`, `numpy()`, `bool()` and the like run
    what was recorded. Made by `tn.tensor`, `tn.zeros`, `tn.from_numpy` and their kin.

    Example:
        >>> import tenor as tn
        >>> x = tn.tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([2., 4.])
    """

    __slots__ = ()
    __array_priority__ = 1000

    def __init__(self, *_args: Any) -> NoReturn:
        raise ArgumentError(
            "Tensor: tensors are made by functions.",
            came="Tensor(...)",
            fix="call tn.tensor(data), tn.zeros(shape) or tn.from_numpy(array)",
        )

    # -- what it is ---------------------------------------------------------------------------
    @property
    def shape(self) -> Size:
        """The extents, first dim first."""
        return Size(self.shape_tuple)

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.element_type

    @property
    def ndim(self) -> builtins.int:
        """The number of dims."""
        return len(self.shape_tuple)

    def dim(self) -> builtins.int:
        """Return the number of dims."""
        return len(self.shape_tuple)

    def numel(self) -> builtins.int:
        """Return the number of elements."""
        return elements(self.shape_tuple)

    @aliased
    def size(self, dim: builtins.int | None = None) -> Any:
        """Return the shape, or the extent of one dim."""
        if dim is None:
            return self.shape
        return self.shape_tuple[axis("size", dim, self.ndim)] if self.ndim else axis("size", dim, 0)

    @aliased
    def stride(self, dim: builtins.int | None = None) -> Any:
        """Return the strides in elements, or that of one dim."""
        strides = layout.strides_of(self) or layout.contiguous(self.shape_tuple)
        return strides if dim is None else strides[axis("stride", dim, self.ndim)]

    def is_contiguous(self) -> builtins.bool:
        """Return whether the elements lie in storage in row-major order."""
        return layout.is_contiguous(self)

    def contiguous(self) -> Tensor:
        """Return the tensor with its elements in row-major order; itself where they are."""
        return self if layout.is_contiguous(self) else self.clone()

    def is_floating_point(self) -> builtins.bool:
        """Return whether the elements are floating-point numbers."""
        return self.element_type.kind == "float"

    def element_size(self) -> builtins.int:
        """Return the bytes of one element."""
        return self.element_type.itemsize

    is_cpu, is_cuda, is_sparse = True, False, False
    device = property(conversion.device_of)
    nbytes = property(conversion.nbytes)
    itemsize = property(element_size)
    nelement = numel
    ndimension = dim
    T = property(movement.reversed_dims)
    H = property(movement.t)
    mT = mH = property(movement.matrix_transpose)  # noqa: N815 - PyTorch's names
    requires_grad = property(gradient.get_requires_grad, gradient.set_requires_grad)
    is_leaf = property(gradient.is_leaf)
    grad_fn = property(gradient.grad_fn)
    grad = property(gradient.get_grad, gradient.set_grad)
    data = property(gradient.get_data, gradient.set_data)
    _version = property(version_of)

    # -- operators ----------------------------------------------------------------------------
    __add__ = __radd__ = elementwise.add_
    __sub__, __rsub__ = elementwise.sub_, elementwise.rsub_
    __mul__ = __rmul__ = elementwise.mul_
    __truediv__, __rtruediv__ = elementwise.div_, elementwise.rdiv_
    __floordiv__, __rfloordiv__ = elementwise.floordiv_, elementwise.rfloordiv_
    __mod__, __rmod__ = elementwise.mod_, elementwise.rmod_
    __pow__, __rpow__ = elementwise.power, elementwise.rpow_
    __matmul__, __rmatmul__ = linear.product, linear.reverse_product
    __and__ = __rand__ = elementwise.and_
    __or__ = __ror__ = elementwise.or_
    __xor__ = __rxor__ = elementwise.xor_
    __lshift__, __rlshift__ = elementwise.shl_, elementwise.rshl_
    __rshift__, __rrshift__ = elementwise.shr_, elementwise.rshr_
    __eq__ = elementwise.eq_  # type: ignore[assignment]
    __ne__ = elementwise.ne_  # type: ignore[assignment]
    __lt__, __le__ = elementwise.lt_, elementwise.le_
    __gt__, __ge__ = elementwise.gt_, elementwise.ge_
    __neg__, __abs__ = elementwise.neg, elementwise.abs
    __invert__ = elementwise.bitwise_not
    __pos__ = movement.clone
    __hash__ = object.__hash__

    __iadd__ = in_place("add_", elementwise.add_)
    __isub__ = in_place("sub_", elementwise.sub_)
    __imul__ = in_place("mul_", elementwise.mul_)
    __itruediv__ = in_place("div_", elementwise.div_)
    __ifloordiv__ = in_place("floor_divide_", elementwise.floordiv_)
    __imod__ = in_place("remainder_", elementwise.mod_)
    __ipow__ = in_place("pow_", elementwise.power)
    __iand__ = in_place("bitwise_and_", elementwise.and_)
    __ior__ = in_place("bitwise_or_", elementwise.or_)
    __ixor__ = in_place("bitwise_xor_", elementwise.xor_)
    __ilshift__ = in_place("bitwise_left_shift_", elementwise.shl_)
    __irshift__ = in_place("bitwise_right_shift_", elementwise.shr_)

    # -- Python's own protocols ---------------------------------------------------------------
    __getitem__, __setitem__ = indexing.get, indexing.put
    __len__, __iter__, __contains__ = protocol.length, protocol.iterate, protocol.contains
    __bool__, __int__, __float__ = protocol.truth, protocol.whole, protocol.real
    __index__, __complex__ = protocol.index, protocol.complex_number
    __repr__, __format__ = printing.text, printing.formatted
    __copy__, __deepcopy__ = protocol.copy, protocol.deepcopy
    __reduce_ex__ = protocol.reduce  # type: ignore[assignment]
    __array__ = conversion.array_protocol
    __dlpack__, __dlpack_device__ = dlpack.lend, dlpack.device

    # -- elementwise --------------------------------------------------------------------------
    abs = absolute = elementwise.abs
    add, sub, mul, div = elementwise.add, elementwise.sub, elementwise.mul, elementwise.div
    subtract, multiply, divide = elementwise.sub, elementwise.mul, elementwise.div
    true_divide, floor_divide = elementwise.div, elementwise.floor_divide
    remainder, fmod, pow = elementwise.remainder, elementwise.fmod, elementwise.power
    neg = negative = elementwise.neg
    square, reciprocal, sign = elementwise.square, elementwise.reciprocal, elementwise.sign
    exp, exp2, expm1 = elementwise.exp, transcendental.exp2, elementwise.expm1
    log, log2, log10, log1p = (
        elementwise.log, transcendental.log2, transcendental.log10, elementwise.log1p,
    )  # fmt: skip
    sqrt, rsqrt, sin, cos, tan = (
        elementwise.sqrt, elementwise.rsqrt, elementwise.sin, elementwise.cos, transcendental.tan,
    )  # fmt: skip
    sinh, cosh, tanh = transcendental.sinh, transcendental.cosh, elementwise.tanh
    erf, erfc, logit = elementwise.erf, transcendental.erfc, transcendental.logit
    sigmoid, relu = elementwise.sigmoid, elementwise.relu
    floor, ceil, trunc, frac, round = (
        elementwise.floor, elementwise.ceil, elementwise.trunc, elementwise.frac,
        elementwise.round,
    )  # fmt: skip
    clamp = clip = elementwise.clamp
    nan_to_num, lerp = elementwise.nan_to_num, elementwise.lerp
    addcmul, addcdiv = elementwise.addcmul, elementwise.addcdiv
    maximum, minimum = elementwise.maximum, elementwise.minimum
    logaddexp, heaviside = transcendental.logaddexp, elementwise.heaviside
    eq, ne, lt = elementwise.eq, elementwise.ne, elementwise.lt
    le, gt, ge = elementwise.le, elementwise.gt, elementwise.ge
    greater, greater_equal, less = elementwise.gt, elementwise.ge, elementwise.lt
    less_equal, not_equal = elementwise.le, elementwise.ne
    isclose, isnan = elementwise.isclose, elementwise.isnan
    isinf, isfinite = elementwise.isinf, elementwise.isfinite
    allclose, equal = protocol.allclose, protocol.equal
    logical_not, logical_and = elementwise.logical_not, elementwise.logical_and
    logical_or, logical_xor = elementwise.logical_or, elementwise.logical_xor
    bitwise_not, bitwise_and = elementwise.bitwise_not, elementwise.bitwise_and
    bitwise_or, bitwise_xor = elementwise.bitwise_or, elementwise.bitwise_xor
    where, masked_fill = elementwise.where_method, elementwise.masked_fill

    # -- compositions -------------------------------------------------------------------------
    acos, acosh, asin, asinh = special.acos, special.acosh, special.asin, special.asinh
    atan, atan2, atanh = special.atan, special.atan2, special.atanh
    arccos, arccosh, arcsin, arcsinh = special.acos, special.acosh, special.asin, special.asinh
    arctan, arctan2, arctanh = special.atan, special.atan2, special.atanh
    copysign, signbit, sgn, positive = (
        special.copysign, special.signbit, special.sgn, special.positive,
    )  # fmt: skip
    clamp_min, clamp_max, fmin, fmax = (
        special.clamp_min, special.clamp_max, special.fmin, special.fmax,
    )  # fmt: skip
    lgamma, digamma = special.lgamma, special.digamma
    hypot, sinc, xlogy, erfinv = special.hypot, special.sinc, special.xlogy, special.erfinv
    float_power, ldexp, logaddexp2, fix = (
        special.float_power, special.ldexp, special.logaddexp2, special.fix,
    )  # fmt: skip
    isposinf, isneginf, isreal = special.isposinf, special.isneginf, special.isreal
    deg2rad, rad2deg = special.deg2rad, special.rad2deg
    bitwise_left_shift = special.bitwise_left_shift
    bitwise_right_shift = special.bitwise_right_shift
    is_complex = protocol.is_complex
    is_nonzero, is_signed, is_same_size = (
        protocol.is_nonzero, protocol.is_signed, protocol.is_same_size,
    )  # fmt: skip
    nansum, nanmean, dist = statistics.nansum, statistics.nanmean, statistics.dist
    cov, corrcoef, renorm = statistics.cov, statistics.corrcoef, statistics.renorm

    # -- reductions ---------------------------------------------------------------------------
    sum, prod, mean = reduction.sum, reduction.prod, reduction.mean
    var, std, norm = reduction.var, reduction.std, reduction.norm
    amax, amin, aminmax = reduction.amax, reduction.amin, reduction.aminmax
    max, min = reduction.max, reduction.min
    argmax, argmin = reduction.argmax, reduction.argmin
    any, all, count_nonzero = reduction.any, reduction.all, reduction.count_nonzero
    logsumexp = reduction.logsumexp
    softmax, log_softmax = reduction.softmax, reduction.log_softmax

    # -- movement -----------------------------------------------------------------------------
    clone = movement.clone
    view, reshape, view_as, reshape_as = (
        movement.view, movement.reshape, movement.view_as, movement.reshape_as,
    )  # fmt: skip
    flatten, unflatten, ravel = movement.flatten, movement.unflatten, movement.ravel
    squeeze, unsqueeze = movement.squeeze, movement.unsqueeze
    expand, expand_as, broadcast_to = movement.expand, movement.expand_as, movement.broadcast_to
    permute, transpose, t = movement.permute, movement.transpose, movement.t
    swapaxes = swapdims = movement.transpose
    adjoint = movement.adjoint
    movedim = moveaxis = movement.movedim
    flip, fliplr, flipud = movement.flip, movement.fliplr, movement.flipud
    roll, rot90 = joining.roll, movement.rot90
    narrow, select, split, chunk = (
        joining.narrow, joining.select, joining.split, joining.chunk,
    )  # fmt: skip
    tensor_split, unbind, unfold = joining.tensor_split, joining.unbind, joining.unfold
    repeat, tile, repeat_interleave = joining.repeat, joining.tile, joining.repeat_interleave
    tril, triu, diag = diagonals.tril, diagonals.triu, diagonals.diag
    diagflat, fill_diagonal_ = diagonals.diagflat, diagonals.fill_diagonal_
    hsplit, vsplit, dsplit = joining.hsplit, joining.vsplit, joining.dsplit
    split_with_sizes = joining.split_with_sizes
    diagonal, diag_embed = diagonals.diagonal, diagonals.diag_embed

    # -- indexing -----------------------------------------------------------------------------
    gather, take, take_along_dim = scattering.gather, scattering.take, scattering.take_along_dim
    scatter, scatter_add = scattering.scatter, scattering.scatter_add
    scatter_reduce, index_select = scattering.scatter_reduce, scattering.index_select
    index_add, index_copy, index_fill = (
        scattering.index_add, scattering.index_copy, scattering.index_fill,
    )  # fmt: skip
    index_put, index_put_ = indexing.index_put, indexing.index_put_
    masked_select, masked_scatter = indexing.masked_select, indexing.masked_scatter

    # -- linear algebra -----------------------------------------------------------------------
    matmul, mm, bmm, mv = linear.matmul, linear.mm, linear.bmm, linear.mv
    dot, inner, outer, trace = linear.dot, linear.inner, linear.outer, linear.trace
    addmm, addmv, addr = linear.addmm, linear.addmv, linear.addr
    baddbmm, addbmm, vdot = linear.baddbmm, linear.addbmm, linear.vdot
    kron, cross, tensordot = linear.kron, linear.cross, linear.tensordot

    # -- order --------------------------------------------------------------------------------
    sort, argsort, msort = ordering.sort, ordering.argsort, ordering.msort
    topk, kthvalue, mode = ordering.topk, ordering.kthvalue, ordering.mode
    median, nanmedian, quantile = ordering.median, ordering.nanmedian, ordering.quantile
    cumsum, cumprod, logcumsumexp = running.cumsum, running.cumprod, running.logcumsumexp
    cummax, cummin, diff = running.cummax, running.cummin, running.diff
    nonzero, argwhere, bincount = counting.nonzero, counting.argwhere, counting.bincount
    unique, unique_consecutive, histc = (
        counting.unique, counting.unique_consecutive, counting.histc,
    )  # fmt: skip

    # -- other tensors like it ----------------------------------------------------------------
    new_zeros, new_ones, new_empty = creation.new_zeros, creation.new_ones, creation.new_empty
    new_full, new_tensor = creation.new_full, creation.new_tensor

    # -- gradients ----------------------------------------------------------------------------
    backward, requires_grad_ = gradient.backward, gradient.requires_grad_
    detach, detach_ = gradient.detach, gradient.detach_
    retain_grad, register_hook = gradient.retain_grad, gradient.register_hook
    register_post_accumulate_grad_hook = gradient.register_post_accumulate_grad_hook

    # -- conversion ---------------------------------------------------------------------------
    type_as = conversion.type_as
    to, cpu, type, numpy = conversion.to, conversion.cpu, conversion.type_name, conversion.numpy
    cuda = conversion.cuda
    item, tolist, materialize = conversion.item, conversion.tolist, conversion.materialize
    float = conversion.converter(dt.float32)
    double = conversion.converter(dt.float64)
    half = conversion.converter(dt.float16)
    bfloat16 = conversion.converter(dt.bfloat16)
    long = conversion.converter(dt.int64)
    int = conversion.converter(dt.int32)
    short = conversion.converter(dt.int16)
    char = conversion.converter(dt.int8)
    byte = conversion.converter(dt.uint8)
    bool = conversion.converter(dt.bool_)

    # -- in place -----------------------------------------------------------------------------
    fill_, zero_, copy_ = inplace.fill_, inplace.zero_, inplace.copy_
    add_ = in_place("add_", elementwise.add)
    sub_ = in_place("sub_", elementwise.sub)
    mul_ = in_place("mul_", elementwise.mul)
    div_ = in_place("div_", elementwise.div)
    floor_divide_ = in_place("floor_divide_", elementwise.floor_divide)
    remainder_ = in_place("remainder_", elementwise.remainder)
    pow_ = in_place("pow_", elementwise.power)
    neg_ = in_place("neg_", elementwise.neg)
    abs_ = in_place("abs_", elementwise.abs)
    sign_ = in_place("sign_", elementwise.sign)
    square_ = in_place("square_", elementwise.square)
    reciprocal_ = in_place("reciprocal_", elementwise.reciprocal)
    exp_ = in_place("exp_", elementwise.exp)
    log_ = in_place("log_", elementwise.log)
    sqrt_ = in_place("sqrt_", elementwise.sqrt)
    rsqrt_ = in_place("rsqrt_", elementwise.rsqrt)
    sin_ = in_place("sin_", elementwise.sin)
    cos_ = in_place("cos_", elementwise.cos)
    tanh_ = in_place("tanh_", elementwise.tanh)
    sigmoid_ = in_place("sigmoid_", elementwise.sigmoid)
    relu_ = in_place("relu_", elementwise.relu)
    floor_ = in_place("floor_", elementwise.floor)
    ceil_ = in_place("ceil_", elementwise.ceil)
    round_ = in_place("round_", elementwise.round)
    trunc_ = in_place("trunc_", elementwise.trunc)
    clamp_ = clip_ = in_place("clamp_", elementwise.clamp)
    lerp_ = in_place("lerp_", elementwise.lerp)
    addcmul_ = in_place("addcmul_", elementwise.addcmul)
    addcdiv_ = in_place("addcdiv_", elementwise.addcdiv)
    nan_to_num_ = in_place("nan_to_num_", elementwise.nan_to_num)
    logical_not_ = in_place("logical_not_", elementwise.logical_not)
    bitwise_not_ = in_place("bitwise_not_", elementwise.bitwise_not)
    exp2_ = in_place("exp2_", transcendental.exp2)
    expm1_ = in_place("expm1_", elementwise.expm1)
    log2_ = in_place("log2_", transcendental.log2)
    log10_ = in_place("log10_", transcendental.log10)
    log1p_ = in_place("log1p_", elementwise.log1p)
    tan_ = in_place("tan_", transcendental.tan)
    sinh_ = in_place("sinh_", transcendental.sinh)
    cosh_ = in_place("cosh_", transcendental.cosh)
    erf_ = in_place("erf_", elementwise.erf)
    erfc_ = in_place("erfc_", transcendental.erfc)
    logit_ = in_place("logit_", transcendental.logit)
    frac_ = in_place("frac_", elementwise.frac)
    fmod_ = in_place("fmod_", elementwise.fmod)
    logical_and_ = in_place("logical_and_", elementwise.logical_and)
    logical_or_ = in_place("logical_or_", elementwise.logical_or)
    logical_xor_ = in_place("logical_xor_", elementwise.logical_xor)
    bitwise_and_ = in_place("bitwise_and_", elementwise.bitwise_and)
    bitwise_or_ = in_place("bitwise_or_", elementwise.bitwise_or)
    bitwise_xor_ = in_place("bitwise_xor_", elementwise.bitwise_xor)
    eq_ = in_place("eq_", elementwise.eq)
    ne_ = in_place("ne_", elementwise.ne)
    lt_ = in_place("lt_", elementwise.lt)
    le_ = in_place("le_", elementwise.le)
    gt_ = in_place("gt_", elementwise.gt)
    ge_ = in_place("ge_", elementwise.ge)
    acos_ = in_place("acos_", special.acos)
    acosh_ = in_place("acosh_", special.acosh)
    asin_ = in_place("asin_", special.asin)
    asinh_ = in_place("asinh_", special.asinh)
    atan_ = in_place("atan_", special.atan)
    atan2_ = in_place("atan2_", special.atan2)
    atanh_ = in_place("atanh_", special.atanh)
    copysign_ = in_place("copysign_", special.copysign)
    clamp_min_ = in_place("clamp_min_", special.clamp_min)
    clamp_max_ = in_place("clamp_max_", special.clamp_max)
    hypot_ = in_place("hypot_", special.hypot)
    sinc_ = in_place("sinc_", special.sinc)
    xlogy_ = in_place("xlogy_", special.xlogy)
    erfinv_ = in_place("erfinv_", special.erfinv)
    sgn_ = in_place("sgn_", special.sgn)
    subtract_, multiply_, divide_ = sub_, mul_, div_
    negative_, absolute_, true_divide_ = neg_, abs_, div_
    masked_fill_ = in_place("masked_fill_", elementwise.masked_fill)
    masked_scatter_ = in_place("masked_scatter_", indexing.masked_scatter)
    scatter_ = in_place("scatter_", scattering.scatter)
    scatter_reduce_ = in_place("scatter_reduce_", scattering.scatter_reduce)
    renorm_ = in_place("renorm_", statistics.renorm)
    scatter_add_ = in_place("scatter_add_", scattering.scatter_add)
    index_add_ = in_place("index_add_", scattering.index_add)
    index_copy_ = in_place("index_copy_", scattering.index_copy)
    index_fill_ = in_place("index_fill_", scattering.index_fill)
    cumsum_ = in_place("cumsum_", running.cumsum)
    cumprod_ = in_place("cumprod_", running.cumprod)
    tril_ = in_place("tril_", diagonals.tril)
    triu_ = in_place("triu_", diagonals.triu)
    addmm_ = in_place("addmm_", linear.addmm)
    addmv_ = in_place("addmv_", linear.addmv)
    addr_ = in_place("addr_", linear.addr)
    baddbmm_ = in_place("baddbmm_", linear.baddbmm)
    uniform_, normal_ = random.uniform_, random.normal_
    random_, bernoulli_ = random.random_, random.bernoulli_
    exponential_, bernoulli, multinomial = (
        random.exponential_, random.bernoulli, random.multinomial,
    )  # fmt: skip
    log_normal_, geometric_, cauchy_ = random.log_normal_, random.geometric_, random.cauchy_


for _name, _method in publish(dict(vars(Tensor))).items():
    setattr(Tensor, _name, _method)

install(make=functools.partial(Handle.__new__, Tensor))  # type: ignore[arg-type]
