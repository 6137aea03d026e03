"""The gateway's encrypted log: what `Log.commit` returned from is on disk and stays there.

`log` writes, `reader` reads (here and in other processes), `head` notices loss, `segments` names
the files, `database` opens one. Nothing here signs, seals or decides what is worth an entry.
"""
