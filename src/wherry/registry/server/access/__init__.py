"""Who may do what: identities, the rules about them, and the two ways to prove who one is (password and token)."""
