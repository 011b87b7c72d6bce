"""Images as the engine offers them: the store, commit, and transfers from and to registries."""
