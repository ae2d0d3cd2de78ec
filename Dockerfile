# docker build -t file-sync-service .
#
# --platform linux/amd64,linux/arm64   both, by cross-compiling
# --build-arg ROOTFS=prebuilt          takes target/image, made by `make image-rootfs`, and compiles nothing
ARG RUST_IMAGE=rust:1.95-bookworm
ARG ROOTFS=build

FROM --platform=$BUILDPLATFORM ${RUST_IMAGE} AS build
ARG TARGETARCH
ARG PROFILE=release
WORKDIR /build
COPY contrib/image contrib/image
COPY contrib/release/build-version contrib/release/
RUN contrib/image/toolchain "$TARGETARCH" /triple
# Dependencies first, on empty sources: a change of the program does not build them again.
COPY Cargo.toml Cargo.lock ./
COPY dev/drivers/Cargo.toml dev/drivers/
COPY dev/s3/Cargo.toml dev/s3/
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    mkdir -p src dev/drivers/src dev/s3/src && touch src/lib.rs dev/drivers/src/lib.rs dev/s3/src/lib.rs && echo 'fn main() {}' >src/main.rs \
    && contrib/image/static-build "$PROFILE" "$(cat /triple)"
COPY src src
# The commit that `--version` says.
ARG REVISION=""
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    touch src/lib.rs src/main.rs \
    && SOURCE_COMMIT="$REVISION" contrib/image/static-build "$PROFILE" "$(cat /triple)" \
    && contrib/image/rootfs target/static/file-sync-service /rootfs

FROM scratch AS prebuilt
COPY target/image /rootfs

# hadolint ignore=DL3006
FROM ${ROOTFS} AS rootfs

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=""
ARG CREATED=""
LABEL org.opencontainers.image.title="file-sync-service" \
      org.opencontainers.image.description="Mirrors a directory to an S3 bucket: every change, nothing else, nothing lost" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="scratch"
COPY --from=rootfs /rootfs/etc /etc
COPY --from=rootfs /rootfs/usr /usr
COPY --from=rootfs --chown=65532:65532 /rootfs/var/lib/file-sync-service /var/lib/file-sync-service
# config.yml is looked for here.
WORKDIR /etc/file-sync-service
# A number: Kubernetes cannot verify by a name that it is not root.
USER 65532:65532
# The allocator gives memory back at once instead of after a second: a fifth less at the peak, for no CPU.
ENV MIMALLOC_PURGE_DELAY=0
EXPOSE 9187
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/usr/local/bin/file-sync-service", "health"]
ENTRYPOINT ["/usr/local/bin/file-sync-service"]
CMD ["run"]
