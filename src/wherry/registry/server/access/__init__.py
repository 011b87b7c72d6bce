"""Authentication by password or token, and authorisation by rules.

Floors, lowest first: ``rules``, ``tokens``, ``turns``; ``passwords``; ``authority``, ``token_endpoint``.
"""
