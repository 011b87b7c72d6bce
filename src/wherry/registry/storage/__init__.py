"""Where a registry's bytes are: one small contract, and what fulfils it.

A *key* is a slash-separated name, ``repositories/team/app/_tags/1.0``; an *object* is the bytes under a key; an
*upload* is a growing, private run of bytes that becomes an object in one step. Storage knows nothing of digests,
repositories or HTTP: that is `wherry.registry.server`.
"""

from wherry.registry.storage.contract import Content, Entry, Stat, Storage

__all__ = ["Content", "Entry", "Stat", "Storage"]
