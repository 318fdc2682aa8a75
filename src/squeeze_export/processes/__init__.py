"""Worker processes: the jobs they get, the results they give, and the child side of both."""
