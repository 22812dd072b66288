"""One SQS queue: receive, keep hidden, delete, send."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from knowledge.errors import Refused
from remediation.aws.client import AwsClient

# Of one call, as SQS allows.
MOST = 10
LONGEST_WAIT_S = 20


@dataclass(frozen=True, slots=True)
class Received:
    """A message that is hidden from others for a while. `receives` counts this time; a first one is 1."""

    id: str
    receipt: str = field(repr=False)
    body: str = field(repr=False)
    receives: int
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SqsQueue:
    """Standard or FIFO, by its URL."""

    aws: AwsClient
    url: str

    @property
    def fifo(self) -> bool:
        return self.url.endswith(".fifo")

    async def receive(self, *, wait_s: int, hidden_s: int) -> list[Received]:
        """Up to ten messages; waits `wait_s` for the first. They come back after `hidden_s` unless they are deleted."""
        answer = await self.aws.call(
            "sqs",
            "ReceiveMessage",
            {
                "QueueUrl": self.url,
                "MaxNumberOfMessages": MOST,
                "WaitTimeSeconds": min(wait_s, LONGEST_WAIT_S),
                "VisibilityTimeout": hidden_s,
                "AttributeNames": ["ApproximateReceiveCount"],
                "MessageAttributeNames": ["All"],
            },
            deadline_s=wait_s + 10.0,
        )
        found = answer.get("Messages")
        return [_received(one) for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    async def hide(self, message: Received, seconds: int) -> None:
        """Hidden for so long from now on; 0 gives it to others at once. What is gone already stays so."""
        payload = {"QueueUrl": self.url, "ReceiptHandle": message.receipt, "VisibilityTimeout": seconds}
        try:
            await self.aws.call("sqs", "ChangeMessageVisibility", payload)
        except Refused as error:
            if "AccessDenied" in str(error) or "The role needs" in str(error):
                raise

    async def delete(self, message: Received) -> None:
        await self.aws.call("sqs", "DeleteMessage", {"QueueUrl": self.url, "ReceiptHandle": message.receipt})

    async def send(self, bodies: Sequence[str]) -> None:
        """Up to ten messages. Raises Refused where one of them was not taken."""
        entries: list[dict[str, Any]] = []
        for number, body in enumerate(bodies):
            entry: dict[str, Any] = {"Id": str(number), "MessageBody": body}
            if self.fifo:
                digest = hashlib.sha256(body.encode()).hexdigest()
                entry |= {"MessageGroupId": digest[:32], "MessageDeduplicationId": digest}
            entries.append(entry)
        answer = await self.aws.call("sqs", "SendMessageBatch", {"QueueUrl": self.url, "Entries": entries})
        if failed := answer.get("Failed"):
            raise Refused(f"AWS sqs took {len(bodies) - len(failed)} of {len(bodies)} messages.")

    async def waiting(self) -> tuple[int, int]:
        """(waiting, in work) messages, approximately."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = await self.aws.call("sqs", "GetQueueAttributes", {"QueueUrl": self.url, "AttributeNames": names})
        found = answer.get("Attributes") or {}
        return int(found.get(names[0], 0)), int(found.get(names[1], 0))


def _received(one: Mapping[str, Any]) -> Received:
    count = str((one.get("Attributes") or {}).get("ApproximateReceiveCount", "1"))
    attributes = {
        str(name): str(value["StringValue"])
        for name, value in (one.get("MessageAttributes") or {}).items()
        if isinstance(value, dict) and isinstance(value.get("StringValue"), str)
    }
    return Received(
        str(one.get("MessageId", "")),
        str(one.get("ReceiptHandle", "")),
        str(one.get("Body", "")),
        int(count) if count.isdecimal() else 1,
        attributes,
    )
