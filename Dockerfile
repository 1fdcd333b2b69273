# One image with all the commands; CMD chooses one. It needs BuildKit, which docker
# compose, docker buildx and Docker 23 and later use by default.

FROM golang:1.26-alpine AS build
# For the tag openssl: a C compiler, the C library and libcrypto.
RUN apk add --no-cache gcc musl-dev openssl-dev
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
# Only what the build reads, so that a new orders.csv does not invalidate the cache.
COPY cmd cmd
COPY internal internal
COPY tasks tasks
# For --version: docker build --build-arg REVISION=$(git rev-parse HEAD) .
ARG VERSION=
ARG REVISION=
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=1 go build -tags=openssl,netgo,osusergo -trimpath -buildvcs=false \
        -ldflags="-s -w -X payscore-collector/internal/version.version=$VERSION -X payscore-collector/internal/version.revision=$REVISION" -o /out/ \
        ./cmd/worker ./cmd/enqueue ./cmd/outcomes ./cmd/simulator

# Alpine has the certificates that verify api.mch.weixin.qq.com, and wget for health
# checks. The worker and outcomes sign with libcrypto, which Alpine's own tools need too;
# the other binaries are static. Time zones are in the binaries.
FROM alpine:3.22
RUN apk add --no-cache libcrypto3 \
    && addgroup -S -g 10001 payscore && adduser -S -D -H -u 10001 -G payscore payscore \
    && install -d -o payscore -g payscore -m 0700 /merchant
COPY --from=build /out/ /usr/local/bin/
USER 10001:10001

# The commands read their settings from the environment, and from the file of
# NAME=value lines that MERCHANT_ENV names where it is set.
CMD ["worker"]
