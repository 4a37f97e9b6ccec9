"""Does this library read a checkpoint as transformers does? For people with the weights."""
