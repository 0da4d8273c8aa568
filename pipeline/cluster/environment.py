"""What commands of Slurm must not inherit when `tcx` itself runs inside of a job."""

from __future__ import annotations

from collections.abc import Mapping

# Variables of Slurm's commands change what these answer: `SQUEUE_STATES` would hide jobs.
SLURM_PREFIXES = ("SACCT_", "SBATCH_", "SCANCEL_", "SCONTROL_", "SINFO_", "SLURM_", "SLURMD_", "SQUEUE_", "SRUN_")
INHERITED_PREFIXES = (*SLURM_PREFIXES, "OMPI_", "PMI", "SUBMITIT_", "TORCHELASTIC_")
INHERITED_NAMES = frozenset(
    {
        "GROUP_RANK",
        "GROUP_WORLD_SIZE",
        "LOCAL_RANK",
        "LOCAL_WORLD_SIZE",
        "MASTER_ADDR",
        "MASTER_PORT",
        "NODE_RANK",
        "RANK",
        "ROLE_NAME",
        "ROLE_RANK",
        "ROLE_WORLD_SIZE",
        "WORLD_SIZE",
    }
)
KEPT_NAMES = frozenset({"SLURM_CLUSTERS", "SLURM_CONF"})
"""Where the cluster is, not which job we are in."""


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables without what a job is told about itself.

    A job that is submitted from inside of another one would else inherit, say, the CPU binding of that one.
    """
    return {
        name: value
        for name, value in environ.items()
        if name in KEPT_NAMES or not (name in INHERITED_NAMES or name.startswith(INHERITED_PREFIXES))
    }
