"""The ground floor of agent and cloud: the words, the messages and the bytes that both must agree on.

It imports nothing of ours. What is promised to people outside is written down here once, and nowhere else.
"""
