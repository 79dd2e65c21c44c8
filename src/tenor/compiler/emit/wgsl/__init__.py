"""Kernels as WGSL compute shaders: the second language, for GPUs and browsers.

In:     a Kernel, and where each of its buffers is bound.
Out:    a Shader, and how many workgroups of it.
Never:  chooses what shares a kernel (schedule) or where values lie, or talks to a device.

A shader may count on what every WebGPU device has: 256 invocations and 16 KB of shared memory a
workgroup, eight storage buffers. An element takes four bytes whatever its dtype.
"""

from tenor.compiler.emit.wgsl.element import CARRIED
from tenor.compiler.emit.wgsl.kinds import KINDS, MISSING, PRODUCTS, write

__all__ = ["CARRIED", "KINDS", "MISSING", "PRODUCTS", "write"]
