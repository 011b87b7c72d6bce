"""The verbs of registries: ``login``, ``logout``, ``search``, ``manifest``, ``wherry registry``."""
