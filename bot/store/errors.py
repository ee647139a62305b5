"""What can go wrong with the database as such. Each message says what, where and what to do."""

from __future__ import annotations

from bot.errors import LedgerDown, SettingsError


class StoreDamaged(SettingsError):
    """The database file cannot be read or fails its integrity check."""


class SchemaTooNew(SettingsError):
    """The database was written by a newer version of the product."""


class SchemaOutdated(SettingsError):
    """The database has not been migrated to the schema that this version needs."""


class StoreClosed(LedgerDown):
    """The store was closed before the unit was run; nothing of it was written."""


class StoreUnavailable(LedgerDown):
    """The group's transaction could not be begun, continued or committed.

    Nothing of the unit is promised to be on disk. After a failed commit it may still be there (an I/O error can hide
    a commit that reached the disk), so a caller looks again before it repeats something that must happen once.
    """
