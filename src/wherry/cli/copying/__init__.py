"""``wherry cp``: what is copied to where, archives of this machine's files, and progress."""
