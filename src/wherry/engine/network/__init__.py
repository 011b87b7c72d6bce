"""Containers on networks: memberships, endpoints, links, names, ports, and their views in the API."""
