# The study in a container:
#   docker build -t minibatch-variance . && docker run --rm -v "$PWD/results:/study/results" minibatch-variance
FROM python:3.11-slim-bookworm

# make runs the study; git tells which commit the results are of.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /study
# The packages, in a layer that stays while only code changes.
COPY envs/requirements.lock envs/
RUN python -m venv .venv && .venv/bin/pip install --no-cache-dir --requirement envs/requirements.lock

COPY . .
RUN .venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && touch .venv/.installed

CMD ["make", "study"]
