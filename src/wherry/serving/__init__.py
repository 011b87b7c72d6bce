"""Listeners for untrusted clients: bounds for connections and TLS handshakes at a time.

What is said over a connection does not belong here.
"""

from wherry.serving.acceptor import Acceptor, Bounds

__all__ = ["Acceptor", "Bounds"]
