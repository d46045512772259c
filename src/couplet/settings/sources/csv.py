"""Any CSV table of images and labels, which `couplet.datasets.csv_table` reads."""

from __future__ import annotations

from pydantic import Field, model_validator

from couplet.project.errors import UserError
from couplet.settings.schema.section import Section

AUTO, NONE = "auto", "none"
_COLUMN = "a column's name; auto: found by common names; none: there is no such column"


class Settings(Section):
    """`data.source_args` of csv."""

    table: str = Field(
        "", description="the CSV file; default: labels.csv, else train.csv, else the only *.csv"
    )
    image_folder: str = Field(
        "", description="what image paths start from; default: images/, else where the first image is"
    )
    label_columns: list[str] = Field([], description="default: all columns of 0, 1, -1 and empty cells")
    image_column: str = Field(AUTO, description=_COLUMN)
    patient_column: str = Field(AUTO, description=f"{_COLUMN} (every image its own patient)")
    study_column: str = Field(AUTO, description=_COLUMN)
    view_column: str = Field(AUTO, description=_COLUMN)
    sex_column: str = Field(AUTO, description=_COLUMN)
    age_column: str = Field(AUTO, description=_COLUMN)
    part_column: str = Field(AUTO, description=f"{_COLUMN} (all images are training images)")
    group_columns: list[str] = Field(
        [], description="further columns to keep, for `report.groups`: a device, a site"
    )

    @model_validator(mode="after")
    def _each_column_once(self) -> Settings:
        groups, labels = self.group_columns, self.label_columns
        for name in groups:
            if groups.count(name) > 1 or name in labels:
                raise UserError(
                    f"data.source_args.group_columns: {name!r} is there twice or is a label: remove it"
                )
        for name in labels:
            if labels.count(name) > 1:
                raise UserError(
                    f"data.source_args.label_columns: {name!r} is there twice or is no label: remove it"
                )
        return self
