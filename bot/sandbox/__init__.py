"""A Slack workspace on this machine, with a small cluster, a GitHub and an Argo CD behind it.

It runs as its own process (``python -m bot.sandbox``) and imports nothing of the bot: the bot that talks to it is the
very program that talks to the real services, with other base URLs.
"""
