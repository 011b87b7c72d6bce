"""Delivery: follows the logs of containers whose driver sends them elsewhere, and does not lose its place."""
