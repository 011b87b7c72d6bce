"""`collections.abc`, which is loaded in any case."""

from _collections_abc import *
