"""Results to messages, and back."""
