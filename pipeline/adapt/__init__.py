"""Training that happens in the encoder, on accelerate: one process here, many on a cluster."""

from pipeline.adapt.train import adapt

__all__ = ["adapt"]
