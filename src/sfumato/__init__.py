"""Sfumato: deadline-aware serving of text-to-image and text-to-video diffusion models on shared GPUs."""

__version__ = "0.1.0"
