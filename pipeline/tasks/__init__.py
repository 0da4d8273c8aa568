"""The packaged tasks, one module each. Importing one loads no data and no heavy library."""
