"""From the settings to the queue of jobs, and to the SQS queue beside or under it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.jobs import DurableJobs, Stage
from bot.queues.intake import QueueIntake
from bot.queues.memory import MemoryQueue
from bot.queues.sqs_jobs import SqsJobQueue
from bot.queues.worker import QueuedJobs
from bot.settings import Settings, aws_environment
from handlers.services import Services
from knowledge.errors import SettingsError
from knowledge.store.database import lasting_url
from remediation.aws import AwsClient
from remediation.aws.sqs import SqsQueue


@dataclass(frozen=True, slots=True)
class Queues:
    """Who hands out the jobs, and the SQS queue that alerts come by where there is one.

    `under` is that queue where it hands out the jobs too; `wake` is set when a job is stored for it.
    """

    jobs: DurableJobs | QueuedJobs
    wake: asyncio.Event
    sqs: SqsQueue | None = None
    under: SqsJobQueue | None = None

    def intake(self, settings: Settings, services: Services) -> QueueIntake | None:
        """What takes the alerts from the queue; None without one."""
        if self.sqs is None:
            return None
        return QueueIntake(services, self.sqs, settings.sqs_sources, offer=self.under.offer if self.under else None)


def open_queues(
    settings: Settings, database_url: str, engine: AsyncEngine, http: httpx.AsyncClient, stages: Mapping[str, Stage]
) -> Queues:
    """The queues that are set. Raises SettingsError where SQS is half set up."""
    sqs, wake = open_sqs(settings, http), asyncio.Event()
    under = SqsJobQueue(engine, sqs, wake) if sqs and settings.queue == "sqs" else None
    return Queues(make_jobs(settings, database_url, stages, under), wake, sqs, under)


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
    return DurableJobs(lasting_url(database_url), stages, settings.jobs)
