"""Which machines are what they should be: chips bound to gateways, quotes verified, verdicts kept.

Promises that a chip is bound only where its maker vouches for it and it alone has answered, and that a
verdict survives a restart. Speaks no HTTP, and loses nothing: what a held gateway sends is put off.
"""
