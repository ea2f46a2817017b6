"""headrace_proto: the contract between headrace's server and its clients, with msgpack and NumPy only."""

from .version import __version__

__all__ = ["__version__"]
