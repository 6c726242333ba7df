"""Tables of events and attempts in a database of the operator's: their layout, rows, and how they are written."""
