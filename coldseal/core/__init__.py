"""The law of coldseal: pure rules over values handed in.

Promises the same answer for the same arguments. Does no I/O, reads no clock, draws no
random number and writes no log; whoever calls performs what a rule decides.
"""
