"""The generated page of tables is that of the specs."""

from __future__ import annotations

from fxci_assets_tests.table_reference import FILE, reference


def test_the_page_of_tables_is_not_stale() -> None:
    assert FILE.read_text() == reference(), "run `make docs`"
