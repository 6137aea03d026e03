"""`python -m bench`: the whole benchmark, or some rows of it."""

import sys

from bench.run import app

sys.exit(app())
