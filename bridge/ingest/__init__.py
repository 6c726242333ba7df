"""From a vendor's record to the journal: signature, normalising, consent, sittings, publishing once."""
