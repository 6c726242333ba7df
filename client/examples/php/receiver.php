<?php

// A receiver in PHP 8: verifies the signature, handles each event once, keeps the newest. Needs pdo_sqlite, or another
// driver of PDO; sodium for public keys.
//
//     SECRETS="whsec_... whpk_..." DATABASE=sqlite:grades.sqlite3 php -S 127.0.0.1:8099 receiver.php
//
// Tables: attempt_bridge_events and attempt_bridge_attempts as in the README of attempt-bridge-client, and
// grades (attempt text PRIMARY KEY, passed boolean).

declare(strict_types=1);

const TOLERANCE = 300; // seconds

function is_signed(string $body, array $secrets): bool
{
    $id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
    $seconds = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    if ($id === '' || !preg_match('/^\d{1,11}$/D', $seconds) || abs(time() - (int) $seconds) > TOLERANCE) {
        return false;
    }
    foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $signature) {
        foreach ($secrets as $secret) {
            if (fits($secret, $signature, "$id.$seconds.$body")) {
                return true;
            }
        }
    }
    return false;
}

function fits(string $secret, string $signature, string $content): bool
{
    [$version, $value] = explode(',', $signature, 2) + [1 => ''];
    $key = base64_decode(substr($secret, strpos($secret, '_') + 1));
    $given = (string) base64_decode($value, true);
    if (str_starts_with($secret, 'whpk_')) {
        return $version === 'v1a' && strlen($given) === 64 && sodium_crypto_sign_verify_detached($given, $content, $key);
    }
    return $version === 'v1' && hash_equals(hash_hmac('sha256', $content, $key, true), $given);
}

function handle(array $event, PDO $database): void
{
    $attempt = $event['data']['attempt'] ?? null;
    if (($event['bridgetest'] ?? false) || $attempt === null) {
        return;
    }
    $database->beginTransaction(); // the mark and the grade are kept together, or not at all
    $mark = $database->prepare('INSERT INTO attempt_bridge_events (source, id) VALUES (?, ?) ON CONFLICT DO NOTHING');
    $mark->execute([$event['source'], $event['id']]);
    $newest = $database->prepare(
        'INSERT INTO attempt_bridge_attempts AS kept (source, attempt, revision) VALUES (?, ?, ?)
         ON CONFLICT (source, attempt) DO UPDATE SET revision = excluded.revision
         WHERE kept.revision <= excluded.revision'
    );
    if ($mark->rowCount() && $newest->execute([$event['source'], $attempt['id'], $attempt['revision']])) {
        if ($newest->rowCount()) {
            $passed = $attempt['status'] === 'completed' ? ($event['data']['result']['passed'] ?? null) : null;
            $grade = $database->prepare(
                'INSERT INTO grades (attempt, passed) VALUES (?, ?)
                 ON CONFLICT (attempt) DO UPDATE SET passed = excluded.passed'
            );
            $grade->execute([$attempt['id'], $passed === null ? null : (int) $passed]);
        }
    }
    $database->commit();
}

$body = file_get_contents('php://input'); // the bytes, before anything parses them
if (!is_signed($body, array_filter(explode(' ', (string) getenv('SECRETS'))))) {
    http_response_code(401);
    return;
}
try {
    handle(json_decode($body, true, 512, JSON_THROW_ON_ERROR), new PDO((string) getenv('DATABASE')));
    http_response_code(204);
} catch (Throwable $error) {
    error_log($error->getMessage());
    http_response_code(500); // it is sent again
}
