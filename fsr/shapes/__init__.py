"""The embedded model: drawn scenes, questions about them, the tokenizer, training and evaluation.

`python -m fsr.shapes` has the commands; the weights live in assets/shapes.
"""
