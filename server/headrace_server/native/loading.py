"""The compiled library, ready to be called. Where it was not compiled, there is none, and others do its work."""

from __future__ import annotations

import ctypes
import warnings
from functools import cache

from .library import LIBRARY, sources_digest


@cache
def loaded() -> ctypes.CDLL | None:
    """The library, unless it is not there, or cannot be used here, which is warned of: it costs much speed."""
    if not LIBRARY.exists():
        return None
    try:
        library = ctypes.CDLL(str(LIBRARY))
        library.headrace_sources.restype = ctypes.c_char_p
        built_from = library.headrace_sources().decode()
    except (OSError, AttributeError) as error:
        _warn(str(error))
        return None
    if built_from != sources_digest():
        _warn("it was built from other sources than lie beside it")
        return None
    number, size, edge, address = ctypes.c_int, ctypes.c_int64, ctypes.c_float, ctypes.c_void_p
    library.headrace_resample.argtypes = [
        *(number, number, number, number),
        *(address, size, size, size, edge, edge, edge, edge),
        *(address, size, size, size),
    ]
    text = ctypes.c_char_p
    library.headrace_eighth.argtypes = [text, size, address, size, size]
    library.headrace_decode_jpeg.argtypes = [address, text, size, size, size, size, address]
    library.headrace_look.argtypes = [address, size]
    library.headrace_make_jpegs.argtypes = [address, address, size, number, number]
    library.headrace_read_run.argtypes = [text, address, size, size, address]
    library.headrace_read_run.restype = size
    library.headrace_reads.restype = address
    library.headrace_reads_submit.argtypes = [address, size, text, address, size, size, size]
    library.headrace_reads_collect.argtypes = [address, address, size, size]
    library.headrace_reads_collect.restype = size
    library.headrace_reads_close.argtypes = [address]
    return library


def _warn(reason: str) -> None:
    message = (
        f"{LIBRARY} is not used, and making images smaller is several times slower: {reason}; install headrace again"
    )
    warnings.warn(message, RuntimeWarning, stacklevel=3)
