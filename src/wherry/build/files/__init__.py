"""Operations on files that need no container: copy, make, remove, merge, diff; and the checksums of what is copied.

Every path is resolved by the kernel inside of a mount of the snapshot, so that nothing leads out of it.
"""
