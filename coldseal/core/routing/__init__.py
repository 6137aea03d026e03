"""Routes to other systems: which entry goes, by which key it is known there, and in which form it is said.

Pure: bytes and values in, bytes out. Changes no entry; whoever gets one can still verify it.
"""
