"""What a TPM 2.0 says about a machine, and what may be concluded from it: pure rules over bytes handed in.

Promises that every length is checked, that nothing is left over, and that verification raises with a word of
its own for each reason. Speaks with no chip, keeps nothing, draws nothing at random.
"""
