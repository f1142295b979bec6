# fleetfront for this machine's CPU and for phones that the host's adb server sees.
#
#   docker build -t fleetfront .
#   docker run --rm -u "$(id -u):$(id -g)" -v "$PWD:/work" fleetfront profile --file model.onnx
#
# Phones: run the adb server on the host, and let the container use it. On Linux:
#
#   adb start-server && docker run --rm --network host -v "$PWD:/work" fleetfront devices
#
# Elsewhere, where containers have a network of their own:
#
#   adb -a nodaemon server start
#   docker run --rm -e ADB_SERVER_SOCKET=tcp:host.docker.internal:5037 -v "$PWD:/work" fleetfront devices
FROM python:3.11-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends adb \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE MANIFEST.in ./
COPY fleetfront fleetfront
RUN pip install --no-cache-dir -c constraints.txt '.[cpu,models,search,report]' \
    && rm -rf /src/*

# Measurements and models outlive the container if this folder does.
ENV FLEETFRONT_HOME=/work/.fleetfront
WORKDIR /work
ENTRYPOINT ["fleetfront"]
CMD ["--help"]
