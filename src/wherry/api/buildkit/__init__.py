"""BuildKit's gRPC on the API's socket: its services for clients, and the client of their sessions.

Everything in here but `doors` is imported at the first such request only. How a build is done does not belong here:
see `wherry.build`.
"""
