# The image of the worker, of the migrations and of every other `modctl` command.
#   docker build -t antifake-moderation .
# On Linux the plain package index has the CUDA build of PyTorch, gigabytes large. For a worker without a GPU:
#   docker build --build-arg PIP_ARGS="--extra-index-url <PyTorch's index of CPU wheels>" -t antifake-moderation .
FROM python:3.11-slim AS build
ARG PIP_ARGS=""
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# pdqhash is compiled where the index has no wheel of it for this Python.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY constraints.txt ./
# First and by itself: by far the largest part, and the one that changes least.
RUN pip install ${PIP_ARGS} -c constraints.txt torch
COPY pyproject.toml setup.py README.md LICENSE ./
COPY moderation moderation
COPY workers workers
COPY migrations migrations
RUN pip install ${PIP_ARGS} -c constraints.txt ".[train]"

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 moderation
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
USER moderation
WORKDIR /home/moderation
# A volume mounted here takes over the folder's owner, so that weights can be stored in it.
RUN mkdir -p .cache/huggingface runs
ENTRYPOINT ["modctl"]
CMD ["worker"]
