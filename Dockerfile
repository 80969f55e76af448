# A container with everything to run the project. On a CPU:
#   docker build -t ncfm . && docker run --rm -v "$PWD/results:/ncfm/results" ncfm
# With CUDA: docker build --build-arg TORCH=cu130 -t ncfm . && docker run --gpus all ... (also needs NVIDIA's container toolkit).
# Behind a mirror of the index of torch: --build-arg INDEX=https://...
FROM python:3.12-slim
ARG TORCH=cpu
ARG INDEX=https://download.pytorch.org/whl/${TORCH}
RUN apt-get update && apt-get install -y --no-install-recommends git make g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /ncfm
COPY requirements.txt .
# torch first, of the build that was asked for; `make setup` then finds it and installs the rest from the pinned lists.
RUN python -m venv .venv && grep -E "^torch(vision)?==" requirements.txt > torch.txt \
    && .venv/bin/pip install --no-cache-dir --index-url ${INDEX} -r torch.txt && rm torch.txt
COPY . .
RUN git config --global --add safe.directory /ncfm && make setup
CMD ["make", "demo"]
