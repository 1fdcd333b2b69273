<?php
// php -S 127.0.0.1:8000 receiver.php
declare(strict_types=1);

$secret = (string) getenv('BILLING_WEBHOOK_SECRET');
if (strncmp($secret, 'whsec_', 6) !== 0) {
    throw new RuntimeException('BILLING_WEBHOOK_SECRET is missing: without it anyone could sign');
}
$key = base64_decode(substr($secret, 6));
$body = file_get_contents('php://input');
$id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
$at = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
$ours = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$at.$body", $key, true));
$good = false;
foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $signature) {
    $good = hash_equals($ours, $signature) || $good;
}
if (!$good || abs(time() - (int) $at) > 300) {
    http_response_code(401);
    return;
}

/** Books a payment once. Yours: a table with a unique index, written in the transaction that books. */
function book(string $name, array $payment): void
{
    is_dir('.booked') || mkdir('.booked');
    $file = '.booked/' . rawurlencode($name);
    if ($new = @fopen($file, 'x')) {
        fwrite($new, json_encode($payment));
        error_log("  book $name {$payment['amount']} {$payment['paid_type']}");
    } elseif (!file_exists($file)) {
        throw new RuntimeException("cannot write $file"); // answers 500, so the event is sent again
    }
}

$event = json_decode($body, true, 512, JSON_THROW_ON_ERROR);
error_log("{$event['type']} {$event['out_order_no']} {$event['state']}");
foreach ($event['payments'] ?? [] as $p) {
    book($event['mchid'] . ' ' . ($p['transaction_id'] ?? "{$event['out_order_no']}#{$p['seq']}"), $p);
}
http_response_code(204); // only now: without a 2xx the event is sent again
