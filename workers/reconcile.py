"""Comparing what a vendor lists with what was published: for a period that somebody asks for, and every night."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import structlog

from bridge.budgets import RECONCILE
from bridge.config import Source
from bridge.cursors import Lease
from bridge.errors import BridgeError, StateUnavailable, Unreadable, VendorFault, clip
from bridge.journal import BACKFILL
from bridge.journal.reading import Reader
from bridge.news import Normalised, Pointer, Record
from bridge.peeking import Peeking
from bridge.pipeline import ingest
from bridge.reconciliation import (
    Listed,
    Published,
    Reconciliation,
    Reconciliations,
    compare,
    delays,
    findings,
)
from bridge.services import Services
from schemas.event import COMPLETED, VOIDED, parse_time
from workers.listing import Interrupted, Listing, whole_streams

__all__ = ["NIGHTLY_SECONDS", "nightly", "reconcile", "settled_until"]
