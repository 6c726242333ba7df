"""What stands between a vendor's list and us: cursors, watches, expectations, backfill jobs, calls within a budget."""
