"""From the shards of one or many study folders to tables of points, frontiers and task complexities."""

from pipeline.reduce.reduction import Reduction, reduce_studies

__all__ = ["Reduction", "reduce_studies"]
