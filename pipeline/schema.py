"""The file formats, as a table: schema name -> version and the record in each group. `docs/format.md` says it in words."""

from dataclasses import dataclass

from gaitreid.pose.arrays import Record
from gaitreid.pose.records import Silhouettes, Track2D, Track3D
from gaitreid.reid.records import Cohort, Embeddings, Gallery, Ranking, Sequences, Walks


@dataclass(frozen=True)
class Schema:
    """One kind of file.

    Attributes:
        version: major.minor; readers take any minor of a major that they know.
        groups: group path -> record class; a path that ends in `/*` stands for numbered groups.
    """

    version: str
    groups: dict[str, type[Record]]


SCHEMAS: dict[str, Schema] = {
    "pose2d": Schema("1.0", {"/tracks/*": Track2D}),
    "silhouettes": Schema("1.1", {"/tracks/*": Silhouettes}),
    "pose3d": Schema("1.0", {"/tracks/*": Track3D}),
    "sequences": Schema("1.0", {"/sequences": Sequences}),
    "walks": Schema("1.0", {"/walks": Walks}),
    "embeddings": Schema("1.0", {"/embeddings": Embeddings}),
    "gallery": Schema("1.1", {"/gallery": Gallery, "/cohort": Cohort}),
    "ranking": Schema("1.0", {"/ranking": Ranking}),
    "truth": Schema("1.0", {"/tracks/*": Track2D, "/tracks3d/*": Track3D}),
}
