"""The WebGPU device: shader programs run natively, by wgpu-native through `wgpu`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.errors import ArgumentError, CompileError, DTypeError, OutOfMemoryError
from tenor.ir import dtype as dt
from tenor.ir.bfloat16 import from_bfloat16, to_bfloat16
from tenor.ir.node import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tenor.ir.shader import Dispatch, Shader, ShaderProgram, Slot

    Array = NDArray[Any]

__all__ = ["Device", "Executable", "device", "narrowed"]

CELLS: Final = {"f32": np.float32, "i32": np.int32, "u32": np.uint32}
"""What NumPy calls an element on the device."""
_lock = threading.Lock()
_devices: Final[dict[str, Device]] = {}


class Device:
    """An adapter opened for use, and what was compiled for it.

    Args:
        name: "webgpu", the fastest one, or "webgpu:1" and the like: one by its number.

    Attributes:
        name: What the adapter calls itself.
        software: Whether it is a CPU that pretends.
        gpu: wgpu's own device.

    Raises:
        ArgumentError: `wgpu` is not installed, or there is no adapter.
    """

    def __init__(self, name: str = "webgpu") -> None:
        try:
            import wgpu  # noqa: PLC0415 - of an extra
        except ImportError:
            raise ArgumentError(
                "device: 'webgpu' needs the package wgpu.",
                came="it is not installed",
                fix="pip install 'tenor[webgpu]'",
            ) from None
        adapter = _adapter(wgpu.gpu, name)
        self.usage, self.failed = wgpu.BufferUsage, wgpu.GPUError
        self.name = f"{adapter.info['device']} ({adapter.info['backend_type']})"
        self.software = adapter.info["adapter_type"] == "CPU"
        self.gpu = adapter.request_device_sync()
        self.pipelines: dict[Shader, tuple[Any, Any]] = {}
        self.lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<webgpu device {self.name}>"

    def pipeline(self, shader: Shader) -> tuple[Any, Any]:
        """Return a shader's pipeline and the layout of its bindings, compiled once."""
        found = self.pipelines.get(shader)
        if found is None:
            kinds = {"read": "read-only-storage", "write": "storage"}
            entries = [
                {"binding": n, "visibility": 4, "buffer": {"type": kinds[access]}}
                for n, access in enumerate(shader.access)
            ]
            layout = self.gpu.create_bind_group_layout(entries=entries)
            whole = self.gpu.create_pipeline_layout(bind_group_layouts=[layout])
            try:
                module = self.gpu.create_shader_module(code=shader.text)
                stage = {"module": module, "entry_point": "main"}
                made = self.gpu.create_compute_pipeline(layout=whole, compute=stage)
            except self.failed as error:
                raise CompileError(
                    "webgpu: a shader the device takes.",
                    came=[*str(error).splitlines(), *shader.text.splitlines()],
                    fix="please report it with this text",
                ) from error
            found = self.pipelines[shader] = (made, layout)
        return found


def _adapter(gpu: Any, name: str) -> Any:
    """Return the adapter of a name."""
    number = name.partition(":")[2]
    if number:
        every = gpu.enumerate_adapters_sync()
        if int(number) >= len(every):
            known = ", ".join(f"webgpu:{n} {a.info['device']}" for n, a in enumerate(every))
            raise _no_adapter(f"{name}; there is {known or 'none'}")
        return every[int(number)]
    try:
        adapter = gpu.request_adapter_sync(power_preference="high-performance")
    except RuntimeError as error:
        raise _no_adapter(str(error)) from error
    if adapter is None:
        raise _no_adapter("none")
    return adapter


def _no_adapter(came: str) -> ArgumentError:
    return ArgumentError(
        "device: 'webgpu' needs an adapter: a GPU with its driver, or a software one.",
        came=came,
        fix="install a Vulkan, Metal or Direct3D 12 driver; Mesa's lavapipe runs on a CPU "
        "(Debian: apt install mesa-vulkan-drivers libvulkan1)",
    )


def device(name: str = "webgpu") -> Device:
    """Return the process's device of a name, opened at the first call.

    Raises:
        ArgumentError: `wgpu` is not installed, or there is no such adapter.
    """
    with _lock:
        if name not in _devices:
            _devices[name] = Device(name)
        return _devices[name]


def narrowed(array: Array, slot: Slot) -> Array:
    """Return an array as the device holds it, four bytes an element.

    Raises:
        DTypeError: It holds an integer of more than 32 bits.
    """
    kind: Any = CELLS[slot.cell]
    if slot.dtype == dt.bfloat16.text:
        return np.ascontiguousarray(from_bfloat16(array))
    if array.dtype.itemsize == 8 and array.size:
        low, high = np.iinfo(kind).min, np.iinfo(kind).max
        if array.min() < low or array.max() > high:
            worst = array.max() if array.max() > high else array.min()
            raise DTypeError(
                "webgpu: an int64 has 32 bits on the device.",
                came=f"{worst} in {slot.name or 'a tensor'} {list(slot.shape)}",
                fix="use numbers below 2^31, or run on the CPU",
            )
    return np.ascontiguousarray(array, kind)


class Executable:
    """A shader program on a device: its buffers, and what is bound to what.

    Args:
        program: The program.
        where: The device; by default the process's.
        sibling: Another of the same weights, to share their memory.
    """

    def __init__(
        self,
        program: ShaderProgram,
        where: Device | None = None,
        sibling: Executable | None = None,
    ) -> None:
        self.program, self.sibling = program, sibling
        self.device: Device = sibling.device if sibling else where or device()
        held = {s.buffer for s in program.weights} if sibling else set()
        with self.device.lock:
            use = (
                self.device.usage.STORAGE | self.device.usage.COPY_DST | self.device.usage.COPY_SRC
            )
            try:
                fresh = {
                    name: self.device.gpu.create_buffer(size=count, usage=use)
                    for name, count in program.buffers.items()
                    if name not in held
                }
            except self.device.failed as error:
                raise OutOfMemoryError(
                    "webgpu: room for the program's buffers.",
                    came=f"{sum(program.buffers.values()):,} bytes wanted: {error}",
                    fix="use a smaller batch, or run on the CPU",
                ) from error
            shared = {name: sibling.buffers[name] for name in held} if sibling else {}
            self.buffers: dict[str, Any] = fresh | shared
            self.prepared = [self._step(d) for d in program.prepared]
            self.steps = [self._step(d) for d in program.dispatches]

    @property
    def memory(self) -> int:
        """The bytes it takes on the device."""
        return sum(self.program.buffers.values())

    def _step(self, dispatch: Dispatch) -> tuple[Any, Any, tuple[int, int, int]]:
        pipeline, layout = self.device.pipeline(self.program.shaders[dispatch.shader])
        entries = [
            {"binding": n, "resource": {
                "buffer": self.buffers[r.buffer], "offset": r.offset, "size": r.bytes}}
            for n, r in enumerate(dispatch.ranges)
        ]  # fmt: skip
        group = self.device.gpu.create_bind_group(layout=layout, entries=entries)
        return pipeline, group, dispatch.groups

    def keep(self, weights: Sequence[Array]) -> None:
        """Put the weights on the device, and do what depends on them alone.

        Raises:
            DTypeError: A weight holds an integer of more than 32 bits.
        """
        with self.device.lock:
            if self.sibling is None:
                self._write(self.program.weights, weights)
            self._write(self.program.constants, self.program.values)
            self._launch(self.prepared)

    def _launch(self, steps: Sequence[tuple[Any, Any, tuple[int, int, int]]]) -> None:
        gpu = self.device.gpu
        encoder = gpu.create_command_encoder()
        work = encoder.begin_compute_pass()
        for pipeline, group, groups in steps:
            work.set_pipeline(pipeline)
            work.set_bind_group(0, group)
            work.dispatch_workgroups(*groups)
        work.end()
        gpu.queue.submit([encoder.finish()])

    def _write(self, slots: Sequence[Slot], arrays: Sequence[Array]) -> None:
        queue = self.device.gpu.queue
        every = [narrowed(array, slot) for slot, array in zip(slots, arrays, strict=True)]
        with self.device.lock:
            for slot, array in zip(slots, every, strict=True):
                if array.size:
                    queue.write_buffer(self.buffers[slot.buffer], slot.offset, array)

    def run(self, inputs: Sequence[Array]) -> tuple[list[Array], int, int]:
        """Return the outputs, and the status: (0, 0), or a check's code and an index it met.

        Raises:
            DTypeError: An input holds an integer of more than 32 bits.
        """
        with self.device.lock:
            self._write(self.program.inputs, inputs)
            if self.program.checks:
                nothing = bytes(self.program.buffers["status"])
                self.device.gpu.queue.write_buffer(self.buffers["status"], 0, nothing)
            self._launch(self.steps)
            code, value = self._status()
            outputs = [] if code else [self._read(slot) for slot in self.program.outputs]
        return outputs, code, value

    def _status(self) -> tuple[int, int]:
        checks = self.program.checks
        if not checks:
            return 0, 0
        raw = self.device.gpu.queue.read_buffer(self.buffers["status"], 0, 8 * len(checks))
        words = np.frombuffer(raw, np.int32).reshape(-1, 2)
        return next(
            ((c.code, int(v)) for c, (bad, v) in zip(checks, words, strict=True) if bad), (0, 0)
        )

    def _read(self, slot: Slot) -> Array:
        dtype, count = dt.of(slot.dtype).numpy, size(slot.shape)
        if not count:
            return np.empty(slot.shape, dtype)
        raw = self.device.gpu.queue.read_buffer(self.buffers[slot.buffer], slot.offset, 4 * count)
        cells = np.frombuffer(raw, CELLS[slot.cell]).reshape(slot.shape)
        if slot.dtype == dt.bfloat16.text:
            return to_bfloat16(cells)
        with np.errstate(invalid="ignore"):
            return cells.astype(dtype)
