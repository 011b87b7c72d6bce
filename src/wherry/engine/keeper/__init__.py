"""The daemon's end of the connection to the keeper."""
