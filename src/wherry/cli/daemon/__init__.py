"""The daemon that a command talks to: starting one on demand, and TLS."""
