"""What is written in C, for what no package does at the speed of the hardware."""

from .eighth import EighthDecoder, eighth_decoder
from .resampling import Edges, Resampler, resamplers

__all__ = ["Edges", "EighthDecoder", "Resampler", "eighth_decoder", "resamplers"]
