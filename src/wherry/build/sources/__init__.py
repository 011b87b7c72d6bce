"""Sources: images, directories of the client's, HTTP, git, OCI layouts."""
