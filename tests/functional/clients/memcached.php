<?php
// PHP's memcached extension through the proxy: php memcached.php HOST PORT
// In this file a check that fails ends the script with exit code 1 and says which.

[, $host, $port] = $argv;
$checks = 0;

function check(string $what, bool $holds): void
{
    global $cache, $checks;
    $checks++;
    if (!$holds) {
        fwrite(STDERR, "$what: " . $cache->getResultMessage() . "\n");
        exit(1);
    }
}

$cache = new Memcached();
$cache->setOptions([
    Memcached::OPT_COMPRESSION => false,
    Memcached::OPT_TCP_NODELAY => true,
    Memcached::OPT_POLL_TIMEOUT => 10000,
]);
$cache->addServer($host, (int) $port);

check('set', $cache->set('php:a', ['one' => 1, 'zwei' => [2, 3]]));
check('get', $cache->get('php:a') === ['one' => 1, 'zwei' => [2, 3]]);
check('a miss', $cache->get('php:none') === false && $cache->getResultCode() === Memcached::RES_NOTFOUND);
check('add', !$cache->add('php:a', 1) && $cache->getResultCode() === Memcached::RES_NOTSTORED);
check('replace', !$cache->replace('php:none', 1));
$cache->set('php:s', 'b');
check('append and prepend', $cache->append('php:s', 'c') && $cache->prepend('php:s', 'a'));
check('what they left', $cache->get('php:s') === 'abc');

$many = [];
for ($i = 0; $i < 500; $i++) {
    $many["php:many:$i"] = "value $i";
}
check('setMulti', $cache->setMulti($many));
$found = $cache->getMulti([...array_keys($many), 'php:none'], Memcached::GET_PRESERVE_ORDER);
check('getMulti', array_filter($found, fn ($each) => $each !== null) === $many);
check('deleteMulti', !in_array(false, array_map(fn ($each) => $each === true, $cache->deleteMulti(array_keys($many)))));
check('getMulti of what is gone', $cache->getMulti(array_keys($many)) === []);

$cache->set('php:n', 5);
check('increment', $cache->increment('php:n', 3) === 8);
check('decrement', $cache->decrement('php:n', 100) === 0);
check('increment of nothing', $cache->increment('php:none') === false);

$cache->set('php:c', 'first');
$item = $cache->get('php:c', null, Memcached::GET_EXTENDED);
check('cas', $cache->cas($item['cas'], 'php:c', 'second'));
check('cas with an old token', !$cache->cas($item['cas'], 'php:c', 'third'));
check('that it was an old token', $cache->getResultCode() === Memcached::RES_DATA_EXISTS);
check('what cas left', $cache->get('php:c') === 'second');

check('touch', $cache->touch('php:c', 1000));
check('touch of nothing', !$cache->touch('php:none', 1000));
$large = str_repeat("0123456789abcdef\r\n", 50000);
check('a large set', $cache->set('php:large', $large));
check('a large get', $cache->get('php:large') === $large);
check('a value that is too large', !$cache->set('php:large', $large . $large));
check('delete', $cache->delete('php:c') && $cache->get('php:c') === false);
check('delete of nothing', !$cache->delete('php:c'));
check('getVersion', count($cache->getVersion()) === 1);

$cache->setOption(Memcached::OPT_NOREPLY, true);
for ($i = 0; $i < 100; $i++) {
    $cache->set("php:quiet:$i", $i);
}
$cache->setOption(Memcached::OPT_NOREPLY, false);
check('quiet sets', $cache->get('php:quiet:99') === 99);
echo "$checks checks\n";
