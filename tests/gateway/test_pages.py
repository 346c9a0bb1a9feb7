"""Lists that are read to their end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.pages import every
from gateway.ports import Page


@pytest.mark.parametrize("size", [0, 1, 499, 500, 501, 1500])
async def test_everything(size: int) -> None:
    """Every item comes once, in order, in pages."""
    asked = []

    async def read(page: Page) -> tuple[int, Sequence[int]]:
        asked.append(page.offset)
        return size, list(range(size))[page.offset : page.offset + page.limit]

    assert [item async for item in every(read)] == list(range(size))
    assert asked == list(range(0, size, 500)) or asked == [0]


async def test_a_list_that_becomes_shorter() -> None:
    """A list that loses its end while it is read is read to where it ends."""

    async def read(page: Page) -> tuple[int, Sequence[int]]:
        return 1000, list(range(600))[page.offset : page.offset + page.limit]

    assert [item async for item in every(read)] == list(range(600))
