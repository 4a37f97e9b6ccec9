# The page of `make demo`, as uid 1000 on port 7860: docker build --build-arg DEVICE=cuda . (or cpu); see docs/deploy.md.
FROM python:3.12-slim

WORKDIR /app
COPY requirements.txt requirements.lock ./

# cpu or cuda. On Linux PyPI has torch with CUDA only, and its libraries with it; without them it is on PyTorch's own
# index alone. That index has other packages in versions of its own, so torch comes from it by itself, then the rest.
# Triton compiles its kernels with a C compiler. What is downloaded stays in the builder's cache, not in the image.
ARG DEVICE=cpu
ARG TORCH_INDEX=
RUN --mount=type=cache,target=/root/.cache/pip set -eu; \
    case "$DEVICE" in \
      cpu) index=https://download.pytorch.org/whl/cpu ;; \
      cuda) index=https://pypi.org/simple; \
        apt-get update; apt-get install --yes --no-install-recommends gcc libc6-dev; rm -rf /var/lib/apt/lists/* ;; \
      *) echo "DEVICE must be cpu or cuda, not '$DEVICE'." >&2; exit 2 ;; \
    esac; \
    pip install --no-deps torch torchvision --constraint requirements.lock --index-url "${TORCH_INDEX:-$index}"; \
    pip install --requirement requirements.txt --constraint requirements.lock

# Packages and code belong to root. uid 1000 may write its cache, where the hub's client and a Space's preload_from_hub
# put models, and the folder for temporary files.
RUN useradd --create-home --uid 1000 user && install --directory --owner user /home/user/.cache/huggingface
COPY app.py ./
COPY app app
COPY fsr fsr
COPY assets assets
RUN python -m compileall -q app.py app fsr
ENV HOME=/home/user \
    MPLCONFIGDIR=/home/user/.cache/matplotlib \
    TRITON_CACHE_DIR=/home/user/.cache/triton \
    PYTHONUNBUFFERED=1 \
    FSR_HOST=0.0.0.0
USER 1000
EXPOSE 7860
HEALTHCHECK --start-period=2m --timeout=10s CMD python -c "from http.client import HTTPConnection as C; \
c = C('127.0.0.1', ${FSR_PORT:-7860}, timeout=9); c.request('GET', '/health'); exit(c.getresponse().status != 200)"
CMD ["python", "app.py"]
