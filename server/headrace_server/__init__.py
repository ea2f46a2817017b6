"""headrace_server: reads, decodes and batches images beside the storage, and streams the batches over HTTP."""

from .transforms.custom import transform

__all__ = ["transform"]
