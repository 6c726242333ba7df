"""Reading from vendors: polls, rechecks, backfill, reconciliation, and the checks that watch over them."""
