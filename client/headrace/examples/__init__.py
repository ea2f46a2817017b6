"""Training programs to run and to read: `python -m headrace.examples.digits --help`."""
