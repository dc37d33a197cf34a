# syntax=docker/dockerfile:1
# The image of Snorri: one binary, no shell needed, no user but 65532. Build it with BuildKit:
#   docker build -t snorri .
# For a final stage without a shell: --build-arg RUNTIME=<distroless cc-debian12>

ARG RUST=1.95
ARG RUNTIME=debian:12-slim

FROM rust:${RUST}-bookworm AS build
WORKDIR /src
COPY . .
ENV SQLX_OFFLINE=true
# Downloads and compiled dependencies stay in cache mounts, so that only what changed is built again. The caches are no part of the image,
# which is why the binary is copied out of them in the same step.
RUN --mount=type=cache,id=snorri-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=snorri-target,target=/src/target,sharing=locked \
    cargo build --release --locked --package snorri --bin snorri \
    && ! grep -qF "asked for at a kill point" target/release/snorri \
    && install -D -m 0755 target/release/snorri /out/snorri

# hadolint ignore=DL3006
FROM ${RUNTIME}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Snorri" \
      org.opencontainers.image.description="Saga orchestrator on Postgres and NATS JetStream" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The certificates that TLS to NATS is checked against.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/snorri /usr/local/bin/snorri
# A container's loopback is reached by nobody, so both ports listen on all addresses here.
ENV SNORRI_LISTEN=0.0.0.0:8080 \
    SNORRI_ADMIN_LISTEN=0.0.0.0:9090 \
    SNORRI_LOG_FORMAT=json
USER 65532:65532
WORKDIR /
# 8080: REST. 9090: probes and metrics.
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["snorri"]
CMD ["serve"]
