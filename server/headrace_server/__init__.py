"""headrace_server: reads, decodes and batches images beside the storage, and streams the batches over HTTP."""
