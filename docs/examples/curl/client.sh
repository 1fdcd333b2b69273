#!/usr/bin/env bash
# client.sh enqueue NO FEN | look NO | withdraw NO REASON        needs curl and jq
set -euo pipefail
: "${API:=http://127.0.0.1:9090}" "${TOKEN:=}"
reply=$(mktemp)
trap 'rm -f "$reply"' EXIT

# call METHOD PATH [BODY] calls the API. Every call can be sent again without harm, so it
# is when no answer came, and after 429 and 503 (curl --retry).
call() {
	local status
	status=$(curl -sS --retry 5 --retry-connrefused --connect-timeout 5 --max-time 40 -o "$reply" -w '%{http_code}' \
		-X "$1" -H 'Content-Type: application/json' -H @<([ -z "$TOKEN" ] || echo "Authorization: Bearer $TOKEN") \
		${3:+--data-binary "$3"} "$API$2")
	if [ "$status" -ge 400 ]; then
		jq -r --arg status "$status" '"HTTP \($status): \(.detail)"' "$reply" >&2
		return 1
	fi
}

order() { printf '/v1/orders/%s/%s' "$WECHATPAY_MCHID" "$(jq -rn --arg no "$1" '$no | @uri')"; }

case ${1:-} in
enqueue) # up to 10,000 orders in one call; each has a result of its own
	call POST /v1/orders "$(jq -n --arg no "$2" --argjson fen "$3" '{orders: [{out_order_no: $no, amount: $fen}]}')"
	jq -r '.results[] | "\(.out_order_no) \(.result) \(.detail // .state // "")"' "$reply"
	jq -e 'all(.results[]; .result == "accepted" or .result == "duplicate")' "$reply" >/dev/null
	;;
look)
	call GET "$(order "$2")"
	jq -r '"\(.out_order_no) \(.state), paid \(.paid_amount // 0) fen. \(.explain.next)"' "$reply"
	;;
withdraw) # with paid_at WeChat Pay is notified that the user paid elsewhere, and stops deducting
	call POST "$(order "$2")/withdraw" "$(jq -n --arg reason "$3" '{reason: $reason, paid_at: (now | todate)}')"
	jq -r '"\(.out_order_no) \(.state)"' "$reply"
	;;
*)
	echo 'usage: client.sh enqueue NO FEN | look NO | withdraw NO REASON' >&2
	exit 1
	;;
esac
