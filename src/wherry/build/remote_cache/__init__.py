"""The cache goes elsewhere, and comes from there: to and from registries, clients' directories, and images.

The format is BuildKit's (``cache/remotecache/v1``): manifest, layers, and a configuration that says which key has which
layers. Our keys are not BuildKit's, so each reads the other's without finding anything in it.
"""
