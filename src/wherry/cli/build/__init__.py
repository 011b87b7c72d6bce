"""``wherry build``: the context as an archive, the flags as a query, and what happens as a display."""
