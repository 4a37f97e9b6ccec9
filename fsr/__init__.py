"""Focus-Scan-Refine: visual token pruning for vision-language models, and everything needed to look at it."""
