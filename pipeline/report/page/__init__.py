"""One self-contained HTML page of one or several studies, from their reduced tables."""

from pipeline.report.page.write import write_page

__all__ = ["write_page"]
