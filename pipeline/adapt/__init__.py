"""Training that happens in the encoder, on accelerate and DeepSpeed: one process here, many on a cluster."""

from pipeline.adapt.train import Adapted, Training, adapt

__all__ = ["Adapted", "Training", "adapt"]
