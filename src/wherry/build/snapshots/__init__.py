"""Snapshots on disk: directories below ``layers/`` that have no digest yet, and their way to become layers of images."""
