"""The kernel is made equal to the store, and kept so. What is here runs in the helper thread or starts jobs there."""
