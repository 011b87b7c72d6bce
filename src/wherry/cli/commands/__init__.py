"""The verbs, one module each: ``COMMAND`` has the flags and the help, ``run`` does the work."""
