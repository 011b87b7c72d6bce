"""From a request to a container: checks, the image's defaults, mounts, limits that the kernel lacks."""
