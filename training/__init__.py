"""Training of the embedded models, from drawn scenes and clips; the library does not need it."""
