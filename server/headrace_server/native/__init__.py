"""What is written in C, for what no package does at the speed of the hardware."""

from .eighth import EighthDecoder, eighth_decoder
from .reads import Outcome, ReadThreads, read_threads
from .resampling import Edges, Resampler, resamplers

__all__ = [
    "Edges",
    "EighthDecoder",
    "Outcome",
    "ReadThreads",
    "Resampler",
    "eighth_decoder",
    "read_threads",
    "resamplers",
]
