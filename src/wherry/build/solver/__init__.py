"""The solver: runs the operations of a graph that are needed and not cached, side by side."""
