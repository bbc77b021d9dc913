"""How fast pabal is on this machine, beside the raw loop of the same shape: `make bench`."""
