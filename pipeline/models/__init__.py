"""Base models: what a grid may name, and the staged folders that programs are given. Importing this loads no torch."""

from pipeline.models.catalogue import CHECKPOINTS, Checkpoint, checkpoint_of
from pipeline.models.spec import (
    LARGEST_SEED,
    ModelSpec,
    StagedModel,
    known_identity,
    parse_model,
    staged,
    staged_by_identity,
)

__all__ = [
    "CHECKPOINTS",
    "LARGEST_SEED",
    "Checkpoint",
    "ModelSpec",
    "StagedModel",
    "checkpoint_of",
    "known_identity",
    "parse_model",
    "staged",
    "staged_by_identity",
]
