"""The user's terminal and signals, and the streams between them and a container."""
