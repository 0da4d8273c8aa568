"""Base models: what a grid may name, and the staged folders that programs are given. Importing this loads no torch."""

from pipeline.models.spec import ModelSpec, StagedModel, known_identity, parse_model, staged, staged_by_identity

__all__ = ["ModelSpec", "StagedModel", "known_identity", "parse_model", "staged", "staged_by_identity"]
