"""Volumes: directories that outlive containers; drivers that make them, their names, options and rows.

A volume is a directory, or something that a driver can attach in a container's mount namespace; nothing is mounted on
the host. Who uses which volume, and what the API says of them, is the engine's affair. Containers do not belong here.
"""
