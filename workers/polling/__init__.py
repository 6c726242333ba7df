"""Reading from vendors: polls, rechecks, backfill, reconciliation, and what watches over them."""
