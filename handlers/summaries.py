"""Messages about several incidents: a storm's, or what was failing when the bot came."""

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import baseline, storms
from handlers.blocks.card import Card
from handlers.services import Services


async def render(db: AsyncConnection, services: Services, key: str) -> Card | None:
    """Such a message as it stands, by its key; None where nothing is left to say."""
    if key.startswith(baseline.PREFIX):
        return await baseline.render(db, key)
    return await storms.render(db, services, key)
