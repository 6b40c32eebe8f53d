"""Options that name a file to write."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edge_wm.output_file import check_output_file


class OutputFile(click.Path):
    """A file to write at the end of the work, refused at its beginning if that could not be done."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the path.  Raises BadInput."""
        path = Path(os.fspath(value))
        check_output_file(path)
        return path


json_option = click.option(
    "--json", "json_file", metavar="FILE", type=OutputFile(), help="Write the same facts here."
)
