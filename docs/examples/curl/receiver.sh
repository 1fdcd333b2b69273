#!/usr/bin/env bash
# socat TCP-LISTEN:8000,bind=127.0.0.1,reuseaddr,fork EXEC:receiver.sh        needs socat, openssl and jq
# Each connection runs this once, with the request on standard input. It is for a trial: a
# shell cannot compare in constant time, and openssl takes the key as an argument.
set -euo pipefail

answer() {
	printf 'HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' "$1"
	exit
}

id='' at='' signatures='' length=0
while IFS= read -r line && line=${line%$'\r'} && [ -n "$line" ]; do
	value=${line#*: }
	case ${line,,} in
	webhook-id:*) id=$value ;;
	webhook-timestamp:*) at=$value ;;
	webhook-signature:*) signatures=$value ;;
	content-length:*) length=$value ;;
	esac
done
[[ $length =~ ^[0-9]{1,5}$ ]] || answer '413 Content Too Large'
body=$(mktemp)
trap 'rm -f "$body"' EXIT
head -c "$length" >"$body"

[[ ${BILLING_WEBHOOK_SECRET:-} == whsec_* ]] || answer '500 Without a secret anyone could sign'
key=$(base64 -d <<<"${BILLING_WEBHOOK_SECRET#whsec_}" | od -An -v -tx1 | tr -d ' \n')
ours=v1,$({ printf '%s.%s.' "$id" "$at" && cat "$body"; } |
	openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64)
[[ " $signatures " == *" $ours "* && $at =~ ^[0-9]{1,12}$ ]] || answer '401 Unauthorized'
age=$(($(date +%s) - 10#$at))
[ "${age#-}" -le 300 ] || answer '401 Unauthorized'

jq -r '"\(.type) \(.out_order_no) \(.state)"' "$body" >&2
mkdir -p .booked # yours: a table with a unique index, written in the transaction that books
jq -r '. as $e | .payments[]? | "\($e.mchid) \(.transaction_id // "\($e.out_order_no)#\(.seq)") \(.amount) \(.paid_type)"' "$body" |
	while read -r mchid name amount type; do
		file=.booked/$(jq -rn --arg name "$mchid $name" '$name | @uri')
		if (set -o noclobber && echo "$amount $type" >"$file") 2>/dev/null; then
			echo "  book $mchid $name $amount $type" >&2
		fi
		[ -e "$file" ] # else there is no answer, and the event is sent again
	done
answer '204 No Content' # only now: without a 2xx the event is sent again
