"""The values and contracts by which the parts of the builder know each other. No I/O."""
