"""Everything that is measured: times, memory, fidelity, accuracy."""
