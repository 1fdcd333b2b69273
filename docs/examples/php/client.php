<?php
// php client.php enqueue NO FEN | look NO | withdraw NO REASON
declare(strict_types=1);

/** Calls the API. Every call can be sent again without harm, so it is when no answer came. */
function call(string $method, string $path, ?array $body = null): array
{
    $headers = ['Content-Type: application/json'];
    if ($token = getenv('TOKEN')) {
        $headers[] = "Authorization: Bearer $token";
    }
    $curl = curl_init((getenv('API') ?: 'http://127.0.0.1:9090') . $path);
    curl_setopt_array($curl, [
        CURLOPT_CUSTOMREQUEST => $method, CURLOPT_HTTPHEADER => $headers,
        CURLOPT_RETURNTRANSFER => true, CURLOPT_CONNECTTIMEOUT => 5, CURLOPT_TIMEOUT => 40,
    ]);
    if ($body !== null) {
        curl_setopt($curl, CURLOPT_POSTFIELDS, json_encode($body, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE));
    }
    for ($try = 1; ; $try++) {
        $reply = curl_exec($curl);
        $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
        if ($reply !== false && $status !== 429 && $status !== 503) {
            break;
        }
        if ($try === 5) {
            throw new RuntimeException($reply === false ? curl_error($curl) : "HTTP $status: $reply");
        }
        sleep($try);
    }
    $data = json_decode($reply, true);
    if ($status >= 400 || !is_array($data)) {
        throw new RuntimeException("HTTP $status: " . ($data['detail'] ?? $reply));
    }
    return $data;
}

function order(string $no): string
{
    return '/v1/orders/' . getenv('WECHATPAY_MCHID') . '/' . rawurlencode($no);
}

[, $command, $no, $value] = $argv + [null, null, null, null];
try {
    if ($command === 'enqueue' && ctype_digit((string) $value)) {
        // Up to 10,000 orders in one call. Each has a result of its own.
        $reply = call('POST', '/v1/orders', ['orders' => [['out_order_no' => $no, 'amount' => (int) $value]]]);
        $row = $reply['results'][0];
        echo "$no {$row['result']} ", $row['detail'] ?? $row['state'] ?? '', "\n";
        exit(in_array($row['result'], ['accepted', 'duplicate'], true) ? 0 : 1);
    } elseif ($command === 'look' && $no !== null) {
        $order = call('GET', order($no));
        echo "$no {$order['state']}, paid ", $order['paid_amount'] ?? 0, " fen. {$order['explain']['next']}\n";
    } elseif ($command === 'withdraw' && $value !== null) {
        // With 'paid_at' WeChat Pay is notified that the user paid elsewhere, and stops deducting.
        $order = call('POST', order($no) . '/withdraw', ['reason' => $value, 'paid_at' => gmdate('Y-m-d\TH:i:s\Z')]);
        echo "$no {$order['state']}\n";
    } else {
        throw new InvalidArgumentException('usage: client.php enqueue NO FEN | look NO | withdraw NO REASON');
    }
} catch (Exception $e) {
    fwrite(STDERR, $e->getMessage() . "\n");
    exit(1);
}
