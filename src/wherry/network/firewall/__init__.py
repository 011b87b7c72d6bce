"""The nftables tables: the rules as values, the elements that networks and endpoints add, the kernel's side."""
