"""Items of a plan: images, rows of Parquet files, members of tar archives, and videos."""

from __future__ import annotations

from typing import NamedTuple, get_args

from fer_edge.choices import ItemKind

KINDS = get_args(ItemKind)
VIDEO_BYTES = 20_000  # bytes of a video that count as one image in the size of a shard; a frame takes about as many


class Item(NamedTuple):
    """One entry of a plan.

    Attributes:
        kind: "image", "rows", "member", "video", or "damaged" for an input that cannot be listed.
        source: Absolute path of the file.
        name: Name of a tar member, or of the column of a Parquet file; empty for others.
        offset: First byte of a tar member, or first row of a Parquet file.
        size: Bytes of a tar member or video, or number of rows; 0 for others.
        error: Reason why the input is damaged; empty for others.
    """

    kind: ItemKind
    source: str
    name: str = ""
    offset: int = 0
    size: int = 0
    error: str = ""

    @property
    def weight(self) -> int:
        """Number of images that the item counts as."""
        if self.kind == "rows":
            return self.size
        return max(1, self.size // VIDEO_BYTES) if self.kind == "video" else 1


def split_rows(item: Item, count: int) -> tuple[Item, Item]:
    """Split rows of a Parquet file.

    Args:
        item: Item with more than `count` rows.
        count: Number of rows of the first part.
    """
    return item._replace(size=count), item._replace(offset=item.offset + count, size=item.size - count)
