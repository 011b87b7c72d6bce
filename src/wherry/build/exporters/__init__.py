"""Exporters: results become images here, archives, directories, and manifests in a registry."""
