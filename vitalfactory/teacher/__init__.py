"""Rows labelled by a larger model: what may be sent, what is asked, and how every row ends."""
