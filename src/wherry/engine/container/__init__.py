"""One container, the store of all of them, their names, directories and rows."""
