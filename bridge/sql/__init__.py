"""Tables of events and attempts in the operator's database: their layout, rows, and how they are written."""
