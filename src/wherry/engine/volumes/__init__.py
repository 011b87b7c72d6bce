"""Volumes of containers: the API's operations on them, who uses which, what is mounted at a start."""
