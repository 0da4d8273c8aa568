"""What is particular to clusters: profiles of sites, and the scripts that Slurm is given."""
