"""The scoring script behind Starlette: no keys, no log, no metrics."""

import json
import os
import sys

sys.path.insert(0, os.getcwd())

import score  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.responses import Response  # noqa: E402
from starlette.routing import Route  # noqa: E402

score.init()


async def answer(request):
    body = await request.body()
    return Response(json.dumps(score.run(body.decode())), media_type="application/json")


app = Starlette(routes=[Route("/score", answer, methods=["POST"])])
