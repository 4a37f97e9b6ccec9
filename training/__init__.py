"""Training of the embedded models, from drawn scenes and clips; the library does not need it."""

import os

# Read when torch is first imported. Threads that wait by spinning take the core from the processes that draw.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
