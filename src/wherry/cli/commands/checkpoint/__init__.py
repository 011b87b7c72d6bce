"""``wherry checkpoint``: running containers, written down."""
