"""Memory that C is to look at, or to fill."""

from __future__ import annotations

import ctypes
from typing import Any

from numpy.typing import NDArray

new_bytes, keep, let_go = (
    ctypes.pythonapi.PyBytes_FromStringAndSize,
    ctypes.pythonapi.Py_IncRef,
    ctypes.pythonapi.Py_DecRef,
)
new_bytes.argtypes, new_bytes.restype = (ctypes.c_void_p, ctypes.c_ssize_t), ctypes.py_object
keep.argtypes = let_go.argtypes = (ctypes.py_object,)
keep.restype = let_go.restype = None

_as_string = ctypes.pythonapi.PyBytes_AsString
_as_string.argtypes, _as_string.restype = (ctypes.py_object,), ctypes.c_void_p
_HEADER: int = _as_string(b"") - id(b"")
"""Bytes of a `bytes` object before what is in it."""


def address_of_bytes(data: bytes) -> int:
    """Where they begin; to ask PyBytes_AsString each time takes three times as long, under the lock."""
    return id(data) + _HEADER


def address_of(array: NDArray[Any]) -> int:
    """Where the array begins. Asking the array itself takes four times as long, and that under the lock."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    except (TypeError, BufferError, ValueError):  # read-only, or with gaps
        return array.ctypes.data
