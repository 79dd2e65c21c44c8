"""Stage 3 of 4: kernel to loops.

In:     a Kernel and a Target.
Out:    a Lowered: the kernel as a loops Function, cut into independent tiles.
Never:  chooses what to fuse (schedule) or prints code (emit).
"""

from tenor.compiler.lower.channels import channel_tiles
from tenor.compiler.lower.contraction import prepared_elements, takes_epilogue
from tenor.compiler.lower.convolution import may_lie_beside
from tenor.compiler.lower.kinds import lower

__all__ = ["channel_tiles", "lower", "may_lie_beside", "prepared_elements", "takes_epilogue"]
