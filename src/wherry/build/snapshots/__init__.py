"""Snapshots on disk: directories below ``layers/`` without a digest yet, and their way to become layers of images."""
