"""The parts that work without a request: polling, dispatching, housekeeping. Their schedule is in `workers/app.py`."""
