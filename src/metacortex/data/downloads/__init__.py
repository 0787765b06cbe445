"""Downloading the published data whose address and sum are known."""
