"""wherry is a container engine in pure Python that speaks Docker's API.

Where to look for what is in ARCHITECTURE.md. The package itself holds only the version.
"""

__version__ = "0.1.0"
