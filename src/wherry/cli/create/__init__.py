"""The body of ``POST /containers/create``, and creating a container with it: what ``run`` and ``create`` share."""
