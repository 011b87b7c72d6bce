"""The verbs, one module each: ``COMMAND`` says what it takes, ``run`` does it."""
