"""headrace beside its peers and its limits, in one run on one machine: `make bench`."""
