"""Standard streams and logs, as clients see them."""
