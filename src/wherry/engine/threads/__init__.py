"""Threads for work that may wait for long: bounded, apart from the event loop and its pool."""
