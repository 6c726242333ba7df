"""The stage of the contract suites: `stage` a vendor, `engine` the bridge, `wire` HTTP, `reading` fixtures.

`capabilities` says what a vendor has, `checked` what is wrong with its functions, `fields_read` what its schemas read.
"""
