"""Webhooks of ours: what others are told of calls, kept until it has reached them."""
