"""Writing the page of one or several studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import write_atomically
from pipeline.report.page.bundle import page_bytes
from pipeline.report.page.columns import packed
from pipeline.report.page.content import content_of, study_names
from pipeline.report.page.details import details_of
from pipeline.store import Study


def write_page(studies: Sequence[Study], out: Path | None = None) -> Path:
    """Write one HTML file that shows these studies and needs nothing besides. Equal studies give equal bytes.

    Args:
        studies: reduced studies.
        out: the file, None for `report.html` in the folder of the first study.

    Returns:
        The file.

    Raises:
        UserError: a study has not been reduced, stands here twice, or the plotting library is missing.
    """
    folders = [study.folder.resolve() for study in studies]
    twice = sorted({folder.name for folder in folders if folders.count(folder) > 1})
    if twice:
        raise UserError(f"{', '.join(twice)} is given twice; a page shows a study once")
    content = content_of(studies)
    places, details = details_of(content, dict(zip(study_names(studies), studies, strict=True)))
    path = out or studies[0].page_path
    data = packed(content.header, content.tables(places))
    write_atomically(path, page_bytes(f"{content.header['title']} · task complexity", data, details), replace=True)
    return path
