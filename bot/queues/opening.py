"""From the settings to the queue of jobs, and to the SQS queue beside or under it."""

from collections.abc import Mapping

import httpx

from bot.jobs import DurableJobs, Stage
from bot.queues.memory import MemoryQueue
from bot.queues.sqs_jobs import SqsJobQueue
from bot.queues.worker import QueuedJobs
from bot.settings import Settings, aws_environment
from knowledge.errors import SettingsError
from knowledge.store.database import libpq_url
from remediation.aws import AwsClient
from remediation.aws.sqs import SqsQueue


def open_sqs(settings: Settings, http: httpx.AsyncClient) -> SqsQueue | None:
    """The queue that alerts come by, and jobs where they are set to. Raises SettingsError where it is half set up."""
    if not settings.sqs_queue_url:
        if settings.queue == "sqs":
            raise SettingsError("CODEHEALER_QUEUE is sqs: set SQS_QUEUE_URL to the queue, or leave it at postgres.")
        return None
    return SqsQueue(AwsClient.from_environment(http, aws_environment(settings), settings.sqs_queue_url),
                    settings.sqs_queue_url)  # fmt: skip


def make_jobs(
    settings: Settings, database_url: str, stages: Mapping[str, Stage], sqs: SqsJobQueue | None = None
) -> DurableJobs | QueuedJobs:
    """The queue that is set."""
    if sqs is not None:
        return QueuedJobs(sqs, stages, settings.jobs)
    if settings.queue == "memory":
        return QueuedJobs(MemoryQueue(), stages, settings.jobs)
    return DurableJobs(libpq_url(database_url), stages, settings.jobs)
