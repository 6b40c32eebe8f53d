"""Run by goosebit's own Python: makes an empty database and serves, on loopback only.

python goosebit_server.py PORT
"""

from __future__ import annotations

import asyncio
import sys

import uvicorn
from goosebit import app
from goosebit.db.config import TORTOISE_CONF
from tortoise import Tortoise


async def make_tables() -> None:
    await Tortoise.init(config=TORTOISE_CONF)
    await Tortoise.generate_schemas()
    await Tortoise.close_connections()


if __name__ == "__main__":
    asyncio.run(make_tables())
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]))
