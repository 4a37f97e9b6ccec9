"""The world of the embedded models: drawn scenes and clips, questions about them, and their words."""
