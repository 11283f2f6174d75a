"""What is in a scene and how it moves."""
