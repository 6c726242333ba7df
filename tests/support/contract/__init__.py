"""The contract suites' stage: `stage` puts a vendor on it, `engine` runs the bridge, `wire` is HTTP, `reading` the journal."""
