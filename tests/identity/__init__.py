"""Tests of certificates, TLS contexts and password files."""
