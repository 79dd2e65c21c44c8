"""Write what TensorBoard shows: scalars, histograms, images and text over steps.

In:     a directory; numbers, arrays and strings, each with a tag and a step.
Out:    an event file in the directory, in the format the stock TensorBoard reads.
Never:  imports TensorFlow, starts a thread, or needs the `tensorboard` package before the first
        writer is made.
"""

from tenor.tensorboard.writer import EventWriter

__all__ = ["EventWriter"]
