"""Messages that are drawn when they are sent: a storm's, what was failing when the bot came, an offer."""

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import baseline, remembering, storms
from handlers.blocks.card_view import Card
from handlers.services import Services


async def render(db: AsyncConnection, services: Services, key: str) -> Card | None:
    """Such a message as it stands, by its key; None where nothing is left to say."""
    if key.startswith(baseline.PREFIX):
        return await baseline.render(db, key)
    if key.startswith(remembering.PREFIX):
        return await remembering.render(db, key)
    return await storms.render(db, services, key)
