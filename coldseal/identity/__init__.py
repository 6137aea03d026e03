"""Who speaks: certificates, TLS contexts and password files.

A name is taken only from a certificate that a CA of ours signed, or from a verified password.
What a peer may do is not decided here, and no signing key of the log passes through.
"""
