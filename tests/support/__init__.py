"""Helpers of tests, one module per subject.

child_processes  parts of the bridge as child processes, and waiting for conditions
comparison       what the journal and receivers hold, against what was sent
contract/        vendors on a stage: the engine, the fixtures, HTTP in front of a simulator
dispatch         lanes over a real state server, receivers that fail on purpose
polling          a made-up vendor with a list, and services around it
proxy            a TCP proxy that loses replies
watching         moments and simulated traffic for budgets and alarms
web              a web process, signed webhooks, captured logs
"""
