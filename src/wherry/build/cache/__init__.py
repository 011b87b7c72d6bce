"""The build cache: which result belongs to which key, what is in use, what goes first."""
