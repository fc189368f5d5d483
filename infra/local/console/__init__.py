"""The local stack's console: its live state, and the API reference for trying requests."""
