"""Training that happens in the encoder, on accelerate and DeepSpeed: one process here, many on a cluster."""
