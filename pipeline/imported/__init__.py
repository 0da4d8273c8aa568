"""Results that others published, as shards that stand beside ours and say that they are imported."""

from pipeline.imported.sah import Import, import_sah

__all__ = ["Import", "import_sah"]
