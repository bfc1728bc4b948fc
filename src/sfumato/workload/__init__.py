"""Workloads: what arrives when, of which kind and by when it is wanted; for the simulator and the live load alike."""
