# One image with all the commands; CMD says which one runs.

FROM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags="-s -w" -o /out/ \
        ./cmd/worker ./cmd/enqueue ./cmd/outcomes ./cmd/simulator

# Alpine brings what a static binary still needs: the certificates by which
# api.mch.weixin.qq.com is known, and a wget for health checks. Time zones are
# in the binaries.
FROM alpine:3.22
RUN addgroup -S -g 10001 payscore && adduser -S -D -H -u 10001 -G payscore payscore \
    && install -d -o payscore -g payscore -m 0700 /merchant
COPY --from=build /out/ /usr/local/bin/
USER 10001:10001

# MERCHANT_ENV may name a file of NAME=value lines, such as the simulator
# writes; it is read before the command starts. Settings may as well come from
# the environment alone.
ENTRYPOINT ["/bin/sh", "-ec", "if [ -n \"$MERCHANT_ENV\" ]; then set -a; . \"$MERCHANT_ENV\"; set +a; fi; exec \"$@\"", "payscore-collector"]
CMD ["worker"]
