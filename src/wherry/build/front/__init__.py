"""The front: a Dockerfile becomes a graph. It runs nothing; what it has to know, it asks a `gateway`."""
