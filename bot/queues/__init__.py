"""The work queue's other two homes, beside PostgreSQL's own (`bot/jobs.py`): Amazon SQS, and memory for development."""
