"""Disk usage: what it costs, whom each byte belongs to, and whether what is stored is sound."""
