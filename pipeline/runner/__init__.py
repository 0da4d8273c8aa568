"""Runs program files so that they get only what the reference machine has."""

from pipeline.runner.reference_machine import REFERENCE_MACHINE, build_view, check_reference_machine
from pipeline.runner.runner import Execution, Runner

__all__ = ["REFERENCE_MACHINE", "Execution", "Runner", "build_view", "check_reference_machine"]
