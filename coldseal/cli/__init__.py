"""The command line: one module for each noun, its verbs plain typed functions.

A noun's module lists its verbs in `COMMANDS`; a function named like the noun is the noun itself.
Keyword-only parameters are options (`as_json` is `--json`), those before `/` arguments; the
docstring is the help; the result is the exit code. Nothing is decided here that a program does.
"""
