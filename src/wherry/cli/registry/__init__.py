"""Registries: credentials, inspection of remote images, and the verbs of the registry server."""
