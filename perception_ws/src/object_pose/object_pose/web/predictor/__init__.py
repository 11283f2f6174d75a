"""The models in a process of their own: what the server asks it, and what it answers."""
