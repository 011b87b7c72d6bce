"""From a container's configuration to an OCI runtime specification: devices, security, resources, mounts."""
