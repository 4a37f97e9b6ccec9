# The same app as `make demo`, as uid 1000 on port 7860 (a Hugging Face Docker Space, or any container host).
FROM python:3.12-slim

RUN useradd --create-home --uid 1000 user
USER user
ENV HOME=/home/user \
    PATH=/home/user/.local/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GRADIO_ANALYTICS_ENABLED=False \
    GRADIO_SERVER_NAME=0.0.0.0 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    HF_HOME=/home/user/.cache/huggingface
WORKDIR /home/user/app

# CPU wheels by default; build with --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 for a GPU.
# That index has other packages in versions of its own, so what torch needs comes with the rest.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY --chown=user requirements.txt requirements.lock ./
RUN pip install --no-cache-dir --user --no-deps torch torchvision --constraint requirements.lock --index-url "$TORCH_INDEX" \
 && pip install --no-cache-dir --user --requirement requirements.txt --constraint requirements.lock

COPY --chown=user . .
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/', timeout=5)"
CMD ["python", "app.py"]
