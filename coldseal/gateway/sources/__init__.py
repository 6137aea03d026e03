"""Where messages come from: each source turns a transport into Messages for the pipeline.

A source knows who is speaking and whether it may; what a payload means is for the pipeline.
"""
