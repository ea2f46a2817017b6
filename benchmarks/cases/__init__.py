"""The work to be done. Each case has a `TITLE`, and `run(stage, work)`, which gives its results as JSON data."""
