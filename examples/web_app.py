"""A web app with uploads that asks for moderation: a sketch in FastAPI, to run as it stands.

    pip install 'antifake-moderation[web]'
    export MODERATION_IMAGES=uploads
    modctl db upgrade && uvicorn examples.web_app:app

Beside it a worker with the same settings: modctl worker.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from moderation import Decision, ImageFailed, Moderation, UnknownImage

UPLOADS = Path("uploads")
SHOWN = {Decision.ALLOW: "published", Decision.REVIEW: "waits for a person", Decision.BLOCK: "blocked"}

app = FastAPI()
moderation = Moderation()  # one for the process; it connects when it is first used


@app.post("/pictures")
async def upload(request: Request) -> dict[str, str]:
    """Stores the picture first, then asks about it: a worker may look at once."""
    name = f"{uuid.uuid4().hex}.img"
    UPLOADS.mkdir(exist_ok=True)
    (UPLOADS / name).write_bytes(await request.body())
    await run_in_threadpool(moderation.submit, name, source="web-app")  # SQL must not block the event loop
    return {"id": name}


@app.get("/pictures/{name}")
def state(name: str) -> dict[str, str | float]:
    """Whether the picture may be shown."""
    try:
        verdict = moderation.verdict(name)
    except UnknownImage:
        raise HTTPException(404, "no such picture") from None
    except ImageFailed as error:
        return {"state": "refused", "reason": error.reason}
    if verdict is None:
        return {"state": "being checked"}
    return {"state": SHOWN[verdict.decision], "probability_fake": round(verdict.probability, 3)}
