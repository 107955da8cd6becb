"""The Python side of a scoring instance: load the script, run init() once, answer requests with run()."""
