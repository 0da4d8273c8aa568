"""Instruction data from a teacher and a verifier: prompts, filters, samples, and the files that they become."""
