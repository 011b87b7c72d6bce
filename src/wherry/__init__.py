"""wherry is a container engine in pure Python that speaks Docker's API.

ARCHITECTURE.md says where to look for what. The package itself holds only the version.
"""

__version__ = "0.1.0"
