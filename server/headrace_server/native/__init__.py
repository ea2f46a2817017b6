"""What is written in C, for what no package does at the speed of the hardware."""

from .buffers import address_of
from .eighth import EighthDecoder, eighth_decoder
from .jpegs import JpegDecoder, JpegMaker, JpegTask, jpeg_decoder, jpeg_maker
from .reads import Outcome, ReadThreads, read_threads
from .resampling import Edges, Resampler, resamplers
from .runs import file_run

__all__ = [
    "Edges",
    "EighthDecoder",
    "JpegDecoder",
    "JpegMaker",
    "JpegTask",
    "Outcome",
    "ReadThreads",
    "Resampler",
    "address_of",
    "eighth_decoder",
    "file_run",
    "jpeg_decoder",
    "jpeg_maker",
    "read_threads",
    "resamplers",
]
