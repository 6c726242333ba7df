"""From a vendor's record to the journal: verify, normalise, consent, sittings, publish once."""
