"""`couplet scan`: the inventory of the raw folder, and what is in it, before anybody trains."""

from __future__ import annotations

from pathlib import Path

from couplet.commands.scan_overview import overview
from couplet.datasets.external import read_external
from couplet.datasets.inventory import scan_source
from couplet.datasets.raw_folder import raw_folder
from couplet.datasets.registry import read_dataset
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.project.files import write_text
from couplet.project.project import HERE, Project
from couplet.settings.schema.data import DataParams
from couplet.settings.source_args import refuse_wrong_source_args


def scan(data: DataParams, html: Path | None = None, project: Project = HERE) -> None:
    """Write the inventory, print the overview, and write it as a page if one is asked for.

    The inventory is of files, whatever they hold: it is written where the label tables cannot be read yet.

    Raises:
        UserError: an adapter's setting is wrong, the folder is not there or a file cannot be read; or the label tables
            are wrong and a page was asked for.
    """
    # Hours before the tables are read: every file of the folder is hashed first.
    refuse_wrong_source_args(data)
    inventory = scan_source(data.source, project, data.source_args, data.external)
    raw, other = raw_folder(data.source, project, data.source_args), data.external
    try:
        dataset = read_dataset(data.source, raw, data.source_args)
        found = overview(dataset, inventory, data)
        if other.given:
            place = raw_folder(other.source, project, other.source_args, other.raw)
            # Says what is there, and which labels are shared.
            read_external(other, place, dataset, data.source)
    except UserError as error:
        if html is not None:
            raise
        return say(f"the inventory is written, but `prepare` would stop: {error}")
    say("\n".join(found.lines()))
    if html is not None:
        from couplet.commands.scan_page import overview_page  # matplotlib: only if a page is drawn

        write_text(html, overview_page(found))
        say(f"{html}: what is there, as a page")
