"""Every figure that the project claims, each by a small program: `python -m bench` or `python -m bench.NAME [--quick]`.

Machines are noisy, so figures are ratios and medians within one run, with the sides of a comparison taking turns.
"""
